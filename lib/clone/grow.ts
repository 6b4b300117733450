import { KIB, MIB, VmSubstrateError } from "../core/index.ts";
import { type Monitor, plugCpus, plugMemory, resizeDisk } from "../host/index.ts";
import type { HelperAnswer, HelperChannel, HelperOperation } from "../netcfg/index.ts";
import { growDiskOperation, grownDisk, type Manifest } from "../substrate/index.ts";
import { addedMemoryMiB, type Growth, MEMORY_BLOCK_MIB } from "./resources.ts";

/** The helper itself waits 5 s for each of the three. */
const RESIZE_TIMEOUT_MS = 20_000;
/**
 * Whatever is plugged in, udev starts programs for, of the guest's one processor's time: of Debian 12, four processors and 1.5 GiB took 810
 * to 950 ms with them and 450 to 580 without. It sees to them afterwards.
 */
const HOLD_UDEV: HelperOperation = { name: "udev", value: "hold" };
const LET_UDEV_GO: HelperOperation = { name: "udev", value: "go" };
/** The least part of a disk that must be a file system's own space; the rest are its tables. */
const USABLE_PART = 0.9;
/** How much of an answer an error shows. */
const SHOWN_CHARS = 100;

/**
 * Adds to a paused clone what it is to have; its guest takes notice when it runs.
 * @throws VmSubstrateError QMP_*, QEMU_UNSUPPORTED, ABORTED
 */
export async function addResources(qmp: Pick<Monitor, "execute">, growth: Growth, signal: AbortSignal): Promise<void> {
  await plugCpus(qmp, growth.addedCpus, signal);
  await plugMemory(qmp, "lasting", growth.lastingMiB, signal);
  if (growth.diskBytes !== undefined) await resizeDisk(qmp, growth.diskBytes, signal);
}

/**
 * Has a running guest switch on what was added, grow its root file system, and say what it has: nothing is handed out that
 * is smaller than it was asked to be.
 *
 * @throws VmSubstrateError RESOURCES_UNVERIFIED, GUEST_HELPER_FAILED, QMP_*, TIMEOUT, ABORTED
 */
export async function takeUpResources(
  qmp: Pick<Monitor, "execute">,
  helper: HelperChannel,
  growth: Growth,
  guest: Manifest["guest"],
  signal: AbortSignal,
): Promise<void> {
  await addRemovableMemory(qmp, helper, growth, guest, signal);
  const questions = [cpusQuestion(growth), memoryQuestion(growth, guest), diskQuestion(growth, guest)];
  const asked = questions.filter((question) => question !== undefined);
  const operations = [HOLD_UDEV, ...asked.map(({ operation }) => operation), LET_UDEV_GO];
  const [, ...answers] = await helper.request(operations, { timeoutMs: RESIZE_TIMEOUT_MS, signal });
  for (const [i, { resource, expected, isRight }] of asked.entries()) {
    const answer = answers[i] ?? "";
    if (!isRight(answer)) throw unverified(resource, expected, answer);
  }
}

/**
 * Memory that can be taken away again is added while the guest runs: not before it has taken in the rest, and was told what
 * the further modules are for.
 */
async function addRemovableMemory(
  qmp: Pick<Monitor, "execute">,
  helper: HelperChannel,
  { lastingMiB, removableMiB }: Growth,
  guest: Manifest["guest"],
  signal: AbortSignal,
): Promise<void> {
  if (removableMiB.length === 0) return;
  const lasting = addedMemoryMiB({ lastingMiB, removableMiB: [] });
  const awaited = { name: "memory", value: String(blocksKib(guest, lasting)) } as const;
  const movable = { name: "onlining", value: "online_movable" } as const;
  const operations = [HOLD_UDEV, ...(lasting > 0 ? [awaited] : []), movable];
  await helper.request(operations, { timeoutMs: RESIZE_TIMEOUT_MS, signal });
  await plugMemory(qmp, "removable", removableMiB, signal);
}

/** An operation, and what its answer must be. */
interface Question {
  readonly resource: "cpus" | "memory" | "disk";
  readonly operation: HelperOperation;
  readonly expected: string;
  readonly isRight: (answer: HelperAnswer[number]) => boolean;
}

function cpusQuestion({ addedCpus, resources }: Growth): Question | undefined {
  if (addedCpus === 0) return undefined;
  const expected = String(resources.cpus);
  const operation = { name: "cpus", value: expected } as const;
  return { resource: "cpus", operation, expected, isRight: (answer) => answer === expected };
}

function memoryQuestion(growth: Growth, guest: Manifest["guest"]): Question | undefined {
  const addedMiB = addedMemoryMiB(growth);
  if (addedMiB === 0) return undefined;
  const addedKib = (addedMiB * MIB) / KIB;
  const wanted = blocksKib(guest, addedMiB);
  return {
    resource: "memory",
    operation: { name: "memory", value: String(wanted) },
    expected: `${wanted}, and more than ${addedKib} of it for programs`,
    isRight: (answer) => {
      const [blocks, usable] = numbers(answer);
      return blocks === wanted && usable !== undefined && usable > addedKib;
    },
  };
}

/** The last block of what was frozen may be a part of one; it counts as a whole one in the guest. */
function blocksKib({ memoryMiB }: Manifest["guest"], addedMiB: number): number {
  return ((Math.ceil(memoryMiB / MEMORY_BLOCK_MIB) * MEMORY_BLOCK_MIB + addedMiB) * MIB) / KIB;
}

function diskQuestion({ diskBytes }: Growth, { growth }: Manifest["guest"]): Question | undefined {
  const disk = growth?.disk;
  if (diskBytes === undefined || disk === undefined) return undefined;
  return {
    resource: "disk",
    operation: growDiskOperation(disk, diskBytes),
    expected: `${disk.device} up to the end of ${diskBytes} bytes, and ${USABLE_PART} of it for files`,
    isRight: (answer) => {
      const grown = grownDisk(disk, diskBytes, answer);
      return grown !== undefined && grown.usableBytes >= USABLE_PART * grown.bytes;
    },
  };
}

/** The guest's word: two numbers, or nothing. */
function numbers(answer: string): readonly number[] {
  const match = /^(\d{1,15}),(\d{1,15})$/.exec(answer);
  return match === null ? [] : [Number(match[1]), Number(match[2])];
}

function unverified(resource: string, expected: string, got: string): VmSubstrateError {
  const shown = got.slice(0, SHOWN_CHARS);
  const message = `the guest's ${resource}: it has "${shown}", expected ${expected}; the clone was destroyed`;
  return new VmSubstrateError("RESOURCES_UNVERIFIED", message, { details: { resource, expected, got: shown } });
}
