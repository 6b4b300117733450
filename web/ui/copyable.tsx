import { useState } from "preact/hooks";
import { Icon } from "./icon.tsx";

/** A value in fixed letters, with a button that copies it where the browser lets pages do that. */
export function Copyable({ value, name }: { readonly value: string; readonly name: string }) {
  const [copied, setCopied] = useState(false);
  // Missing where the page came by plain HTTP from another machine, whatever its type says.
  const clipboard: Clipboard | undefined = navigator.clipboard;
  const copy = () => {
    void clipboard.writeText(value).then(
      () => setCopied(true),
      () => undefined,
    );
  };
  return (
    <span class="copyable">
      <code>{value}</code>
      {clipboard !== undefined && (
        <button type="button" class="icon-button small" aria-label={`Copy ${name}`} onClick={copy}>
          <Icon name="copy" />
        </button>
      )}
      {copied && <output class="faint">copied</output>}
    </span>
  );
}
