import { MIB, VmSubstrateError } from "../core/index.ts";
import type { Monitor } from "./monitor.ts";
import { DISK_NODE } from "./qemu-argv.ts";

type Qmp = Pick<Monitor, "execute">;

/** What the guest does with a module: `lasting` is ordinary memory, `removable` holds nothing that cannot go elsewhere. */
type MemoryKind = "lasting" | "removable";

/** A place for a processor, as QEMU names it. Source: QMP reference, query-hotpluggable-cpus. */
interface CpuPlace {
  readonly type: string;
  readonly props: Readonly<Record<string, number>>;
  /** Of the processor that is there. */
  readonly "qom-path"?: string;
}

/**
 * Plugs in further processors, at the first free places. The guest takes notice when it runs.
 *
 * Under TCG only into a QEMU that has not run for long, see rehearse-cpus.ts.
 *
 * @throws VmSubstrateError QEMU_UNSUPPORTED when there are not as many free places, QMP_*
 */
export async function plugCpus(qmp: Qmp, count: number, signal: AbortSignal | undefined): Promise<void> {
  if (count === 0) return;
  const places = (await cpuPlaces(qmp, signal)).filter((place) => place["qom-path"] === undefined).slice(0, count);
  if (places.length < count) {
    const message = `QEMU has room for ${places.length} further processors, and ${count} are to be plugged in`;
    throw new VmSubstrateError("QEMU_UNSUPPORTED", message);
  }
  for (const { type: driver, props } of places) {
    await qmp.execute("device_add", { driver, id: idOf(props), ...props }, { signal });
  }
}

/**
 * Plugs in memory modules, each of memory of its own: nothing of it is the substrate's file.
 * @throws VmSubstrateError QMP_*
 */
export async function plugMemory(
  qmp: Qmp,
  kind: MemoryKind,
  modulesMiB: readonly number[],
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const [i, sizeMiB] of modulesMiB.entries()) {
    const backend = { "qom-type": "memory-backend-ram", id: `${kind}-ram${i}`, size: sizeMiB * MIB };
    await qmp.execute("object-add", backend, { signal });
    const module = { driver: "pc-dimm", id: `${kind}-dimm${i}`, memdev: backend.id };
    await qmp.execute("device_add", module, { signal });
  }
}

/** Gives the disk's overlay another virtual size; what is below it stays as it is. @throws VmSubstrateError QMP_* */
export async function resizeDisk(qmp: Qmp, sizeBytes: number, signal: AbortSignal | undefined): Promise<void> {
  await qmp.execute("block_resize", { "node-name": DISK_NODE, size: sizeBytes }, { signal });
}

/** In the order of the guest's own numbers, which QEMU's answer has backwards. */
async function cpuPlaces(qmp: Qmp, signal: AbortSignal | undefined): Promise<CpuPlace[]> {
  const places = await qmp.execute<readonly CpuPlace[]>("query-hotpluggable-cpus", {}, { signal });
  return places.toReversed();
}

function idOf(props: CpuPlace["props"]): string {
  return `added-cpu${props["core-id"]}`;
}
