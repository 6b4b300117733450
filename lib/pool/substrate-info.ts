import type { Substrate } from "../substrate/index.ts";

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
}

export function substrateInfo({ manifest }: Substrate): SubstrateInfo {
  const { name, version, createdAt, accelerator, memory } = manifest;
  return { name, version, createdAt, recipe: manifest.guest.recipe, accelerator, qemu: manifest.qemu.build, memory };
}
