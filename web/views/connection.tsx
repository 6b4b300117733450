import { formatTime } from "../format/units.ts";
import { useNow } from "../ui/clock.tsx";
import { useSelect } from "./page-context.ts";

/** Whether what the page shows is what is. */
export function Connection() {
  const stream = useSelect((state) => state.stream);
  return (
    <output class={`connection ${stream.phase}`} title={stream.phase === "reconnecting" ? stream.why : undefined}>
      <i class="dot" />
      {stream.phase === "live" && "Live"}
      {stream.phase === "connecting" && "Connecting…"}
      {stream.phase === "reconnecting" && (
        <span>
          Reconnecting<span class="wide-only"> {<Countdown until={stream.retryAt} />}</span>
        </span>
      )}
    </output>
  );
}

/** Says that the data is old, and how old. */
export function StaleMark() {
  const stream = useSelect((state) => state.stream);
  if (stream.phase !== "reconnecting") return null;
  return (
    <p class="stale-mark" role="status">
      <b>Not up to date.</b> This is how it was at {formatTime(stream.since)}. {stream.why}
    </p>
  );
}

function Countdown({ until }: { readonly until: number }) {
  useNow();
  const seconds = Math.ceil((until - Date.now()) / 1000);
  return <>{seconds > 0 ? `in ${seconds} s` : "now"}</>;
}
