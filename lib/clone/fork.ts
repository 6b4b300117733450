import { chmod, rm } from "node:fs/promises";
import { VmSubstrateError } from "../core/index.ts";
import type { Paths } from "../host/index.ts";
import { type Captured, captureRunning } from "../substrate/index.ts";
import type { Clone } from "./clone.ts";
import type { OnFailpoint } from "./failpoints.ts";
import { endFlattening } from "./flatten-disk.ts";
import { DiskSplit } from "./fork-disk.ts";

const CAPTURE_TIMEOUT_MS = 60_000;

export interface InstantOptions {
  /** The VM's id. */
  readonly id: string;
  /** Names the instant's files. */
  readonly instant: string;
  /** Whether its memory may be read while it runs. */
  readonly isLive: boolean;
  /** Of its disk. */
  readonly sizeBytes: number;
  readonly paths: Paths;
  readonly failpoint: OnFailpoint;
  readonly signal: AbortSignal;
}

/** What became of an attempt that failed: whether the VM writes to an overlay of the instant's disk all the same. */
export interface InstantState {
  isSplit: boolean;
}

/**
 * Takes memory, devices and disk of a running VM at one instant, into files from which others can be launched. The VM stands
 * still for a moment, and goes on with its own identity on a new overlay.
 *
 * @throws VmSubstrateError FORK_FAILED, QMP_*, TIMEOUT, ABORTED; the VM runs on
 */
export async function takeInstant(
  { instance }: Clone,
  { id, instant, isLive, sizeBytes, paths, failpoint, signal }: InstantOptions,
  state: InstantState,
): Promise<Captured> {
  const files = paths.instant(instant);
  const ram = paths.buildRam(instant);
  await using undo = new AsyncDisposableStack();
  undo.defer(() => rm(ram, { force: true }));
  undo.defer(() => rm(files.state, { force: true }));
  const within = new AbortController();
  const either = AbortSignal.any([signal, within.signal]);
  // Its own undo is waited for, also when time runs out.
  const timer = setTimeout(() => within.abort(tooLong()), CAPTURE_TIMEOUT_MS);
  undo.defer(() => clearTimeout(timer));
  await endFlattening(instance.qmp); // of an earlier owner: its disk cannot be parted meanwhile
  await using split = await DiskSplit.prepare(instance.qmp, paths, { id, instant, sizeBytes }, either);
  failpoint("fork.prepared");
  const atInstant = async () => {
    state.isSplit = true;
    await split.split(either);
    failpoint("fork.split");
  };
  const captured = await captureRunning(instance, { ram, state: files.state }, { isLive, atInstant, signal: either });
  failpoint("fork.captured");
  for (const file of [ram, files.state]) await chmod(file, process.getuid?.() === 0 ? 0o400 : 0o600);
  clearTimeout(timer);
  undo.move();
  return captured;
}

function tooLong(): VmSubstrateError {
  const message = `fork: QEMU did not give the VM's memory within ${CAPTURE_TIMEOUT_MS} ms`;
  return new VmSubstrateError("TIMEOUT", message, { details: { timeoutMs: CAPTURE_TIMEOUT_MS } });
}
