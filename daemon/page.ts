import { VmSubstrateError } from "../lib/index.ts";

export interface PageQuery {
  readonly limit: number;
  readonly cursor?: string | undefined;
}

/**
 * One page of a list that is in order of `keyOf`, beginning after the cursor. A cursor names where it was, not how many were
 * before: what comes and goes between two pages makes no item appear twice, and none be left out.
 */
export function page<Item>(
  items: readonly Item[],
  { limit, cursor }: PageQuery,
  keyOf: (item: Item) => string,
): { items: Item[]; next?: string } {
  const after = cursor === undefined ? undefined : decode(cursor);
  const rest = after === undefined ? items : items.filter((item) => keyOf(item) > after);
  const some = rest.slice(0, limit);
  const last = some.at(-1);
  return last === undefined || rest.length === some.length
    ? { items: some }
    : { items: some, next: encode(keyOf(last)) };
}

function encode(key: string): string {
  return Buffer.from(key).toString("base64url");
}

/** @throws VmSubstrateError INVALID_ARGUMENT */
function decode(cursor: string): string {
  const key = Buffer.from(cursor, "base64url").toString();
  if (encode(key) !== cursor) throw new VmSubstrateError("INVALID_ARGUMENT", "cursor: expected the `next` of a list");
  return key;
}
