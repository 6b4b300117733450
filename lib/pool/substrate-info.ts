import type { Generalized, Substrate } from "../substrate/index.ts";

/** What a person wants to know about a substrate. Sizes in bytes. */
export interface SubstrateInfo {
  readonly name: string;
  readonly version: number;
  readonly createdAt: string;
  readonly recipe: string;
  readonly accelerator: string;
  readonly qemu: string;
  readonly memory: {
    readonly assignedBytes: number;
    readonly usedBytes: number;
    /** What its RAM file really holds. */
    readonly residentBytes: number;
  };
  /** What was taken out of the guest before it was frozen, and why. */
  readonly generalized: readonly Generalized[];
}

export function substrateInfo({ manifest }: Substrate): SubstrateInfo {
  const { name, version, createdAt, accelerator, memory, generalized, guest, qemu } = manifest;
  return { name, version, createdAt, recipe: guest.recipe, accelerator, qemu: qemu.build, memory, generalized };
}
