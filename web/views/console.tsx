import { useLayoutEffect, useRef } from "preact/hooks";
import { plainConsole } from "../format/console-text.ts";
import { usePoll } from "../ui/poll.ts";
import { ProblemText } from "../ui/problem.tsx";
import { usePage } from "./page-context.ts";

const EVERY_MS = 2000;
/** How far from the end one may have scrolled and still be taken along, pixels. */
const AT_END = 24;

/** The end of what the guest wrote to its console. It is the guest's text, and so only ever text. */
export function Console({ id }: { readonly id: string }) {
  const { client } = usePage();
  const { value, error } = usePoll(id, EVERY_MS, (signal) => client.console(id, signal));
  const text = value === undefined ? undefined : plainConsole(value).trimEnd();
  const ref = useRef<HTMLPreElement>(null);
  const atEnd = useRef(true);
  useLayoutEffect(() => {
    const element = ref.current;
    if (element !== null && atEnd.current) element.scrollTop = element.scrollHeight;
  }, [text]);
  const onScroll = () => {
    const element = ref.current;
    if (element !== null) atEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < AT_END;
  };
  return (
    <>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, also by the keyboard */}
      <pre ref={ref} class="console" role="log" tabIndex={0} aria-label="Console" onScroll={onScroll}>
        {text === undefined ? "" : text === "" ? "Nothing was written to the console." : text}
      </pre>
      {error !== undefined && <ProblemText error={error} />}
    </>
  );
}
