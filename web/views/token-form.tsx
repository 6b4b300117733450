import { useState } from "preact/hooks";
import { isPlausibleToken } from "../transport/token.ts";
import { Icon } from "../ui/icon.tsx";
import { ProblemText } from "../ui/problem.tsx";

interface TokenFormProps {
  /** Why the one before was refused. */
  readonly error: unknown;
  readonly onToken: (token: string) => void;
}

export function TokenForm({ error, onToken }: TokenFormProps) {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState<unknown>();
  const submit = () => {
    const token = text.trim();
    if (isPlausibleToken(token)) onToken(token);
    else setProblem(new Error("A token is printable characters without spaces."));
  };
  const shown = problem ?? error;
  return (
    <main class="token-page">
      <form
        class="card token-form"
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
      >
        <h1>
          <Icon name="logo" />
          vm-substrate
        </h1>
        <label>
          <span>Token</span>
          <input
            type="password"
            autocomplete="off"
            spellcheck={false}
            value={text}
            onInput={({ currentTarget }) => setText(currentTarget.value)}
          />
        </label>
        {shown !== undefined && <ProblemText error={shown} />}
        <button type="submit" class="primary" disabled={text.trim() === ""}>
          Open
        </button>
        <p class="faint">
          One of the daemon's token file, <code>tokens</code> in its state directory. It is kept in this tab only, until
          the tab is closed.
        </p>
      </form>
    </main>
  );
}
