import { useEffect } from "preact/hooks";
import { Icon } from "../ui/icon.tsx";
import { ProblemText } from "../ui/problem.tsx";
import type { Notice } from "./page-context.ts";

const SHOWN_MS = 6000;

export type ShownNotice = Notice & { readonly id: number };

interface NoticesProps {
  readonly notices: readonly ShownNotice[];
  readonly onGone: (id: number) => void;
}

/** What came of what was asked for. Failures stay until they are closed. */
export function Notices({ notices, onGone }: NoticesProps) {
  return (
    <div class="notices" role="status">
      {notices.map((notice) => (
        <OneNotice key={notice.id} notice={notice} onGone={() => onGone(notice.id)} />
      ))}
    </div>
  );
}

function OneNotice({ notice, onGone }: { readonly notice: ShownNotice; readonly onGone: () => void }) {
  useEffect(() => {
    if (notice.kind === "failed") return;
    const timer = setTimeout(onGone, SHOWN_MS);
    return () => clearTimeout(timer);
  }, []);
  return (
    <div class={`notice ${notice.kind}`}>
      <div>
        <p>{notice.text}</p>
        {notice.kind === "failed" && <ProblemText error={notice.error} />}
      </div>
      <button type="button" class="icon-button" aria-label="Close the notice" onClick={onGone}>
        <Icon name="close" />
      </button>
    </div>
  );
}
