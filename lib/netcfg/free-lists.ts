import type { LeaseKind } from "./lease-record.ts";
import { LowestFree, type Numbered } from "./lowest-free.ts";

/** Subnets and patterns of which it is remembered what is free; of others it is found out by looking through them. */
const MAX_FREE_LISTS = 64;

/** What is free in each space that was lately asked for. */
export class FreeLists {
  /** By kind and the space's name; the one asked for last is last. */
  readonly #lists = new Map<string, { readonly kind: LeaseKind; readonly list: LowestFree }>();

  /** Up to `count` free values, lowest first. */
  lowest(kind: LeaseKind, space: Numbered, count: number, isFree: (value: string) => boolean): string[] {
    const name = `${kind} ${space.name}`;
    const known = this.#lists.get(name) ?? { kind, list: new LowestFree(space) };
    this.#lists.delete(name);
    this.#lists.set(name, known);
    const [oldest] = this.#lists.keys();
    if (this.#lists.size > MAX_FREE_LISTS && oldest !== undefined) this.#lists.delete(oldest);
    return known.list.find(count, isFree);
  }

  freed(kind: LeaseKind, value: string): void {
    for (const one of this.#lists.values()) if (one.kind === kind) one.list.freed(value);
  }
}
