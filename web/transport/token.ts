/** Where a token is kept while a tab is open: not beyond it, and no other tab sees it. */
const KEY = "vm-substrate-token";

type Keep = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/** The token in a URL's fragment, which no server and no log ever sees: `#token=...`. */
export function tokenInFragment(hash: string): string | undefined {
  const token = new URLSearchParams(hash.replace(/^#/, "")).get("token")?.trim();
  return token === "" ? undefined : token;
}

export function keptToken(keep: Keep): string | undefined {
  return keep.getItem(KEY) ?? undefined;
}

export function keepToken(keep: Keep, token: string): void {
  keep.setItem(KEY, token);
}

export function forgetToken(keep: Keep): void {
  keep.removeItem(KEY);
}

/** A header carries printable ASCII and nothing else; `fetch` throws at the rest. */
export function isPlausibleToken(token: string): boolean {
  return /^[\x21-\x7e]{1,4096}$/.test(token);
}
