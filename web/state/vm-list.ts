import type { VmView } from "../../api/index.ts";

/** Rows that are drawn. More make a page slow, and nobody reads them. */
export const MAX_ROWS = 200;

export type SortKey = "hostname" | "state" | "substrate" | "age" | "expires" | "took";
export interface Sort {
  readonly by: SortKey;
  readonly descending: boolean;
}
/** The newest first. */
export const DEFAULT_SORT: Sort = { by: "age", descending: false };

export interface VmList {
  readonly rows: readonly VmView[];
  /** How many the filter lets through. */
  readonly matching: number;
  readonly all: number;
}

/**
 * @param filter words that must all be found: in a hostname, address, id, MAC address, substrate, origin, state, or a label as
 *   `key=value`
 */
export function listVms(vms: Iterable<VmView>, filter: string, sort: Sort): VmList {
  const all = [...vms];
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const matching = words.length === 0 ? all : all.filter((vm) => words.every((word) => haystack(vm).includes(word)));
  const compare = COMPARE[sort.by];
  const direction = sort.descending ? -1 : 1;
  const rows = matching.toSorted((a, b) => direction * compare(a, b) || comparePlain(a.id, b.id)).slice(0, MAX_ROWS);
  return { rows, matching: matching.length, all: all.length };
}

export function substrateName({ name, version }: VmView["substrate"]): string {
  return `${name}@${version}`;
}

export function labelsOf(vm: VmView): string[] {
  return Object.entries(vm.labels).map(([key, value]) => (value === "" ? key : `${key}=${value}`));
}

// VMs are never changed in place, so that what is searched of one is made once.
const haystacks = new WeakMap<VmView, string>();

function haystack(vm: VmView): string {
  let text = haystacks.get(vm);
  if (text === undefined) {
    const { hostname, address, address6, id, mac, substrate, origin, state } = vm;
    const parts = [hostname, address, address6, id, mac, substrateName(substrate), origin, state, ...labelsOf(vm)];
    text = parts.join("\n").toLowerCase();
    haystacks.set(vm, text);
  }
  return text;
}

// So that node-9 comes before node-10.
const { compare: compareNatural } = new Intl.Collator("en", { numeric: true });

/** Of times and ids, where no language counts: many times as fast. */
export function comparePlain(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

const NEVER = "9999";

const COMPARE: Readonly<Record<SortKey, (a: VmView, b: VmView) => number>> = {
  hostname: (a, b) => compareNatural(a.hostname, b.hostname),
  state: (a, b) => comparePlain(a.state, b.state),
  substrate: (a, b) => compareNatural(substrateName(a.substrate), substrateName(b.substrate)),
  age: (a, b) => comparePlain(b.createdAt, a.createdAt),
  expires: (a, b) => comparePlain(a.expiresAt ?? NEVER, b.expiresAt ?? NEVER),
  took: (a, b) => a.timings.totalMs - b.timings.totalMs,
};
