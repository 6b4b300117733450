import { ApiError } from "../transport/api-error.ts";

/** Why something came to nothing: the problem's detail, and its code, which docs/ERRORS.md explains. */
export function ProblemText({ error }: { readonly error: unknown }) {
  const code = error instanceof ApiError ? error.code : undefined;
  return (
    <div class="problem" role="alert">
      <span>{error instanceof Error ? error.message : String(error)}</span>
      {code !== undefined && <code>{code}</code>}
    </div>
  );
}
