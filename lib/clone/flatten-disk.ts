import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { isVmSubstrateError, MIB, VmSubstrateError } from "../core/index.ts";
import { type Monitor, type Paths, requireDisk } from "../host/index.ts";
import type { NamedBlockNode } from "../qmp/index.ts";
import type { OnFailpoint } from "./failpoints.ts";
import { isOurNode, overlayOf, topNode } from "./fork-disk.ts";

const JOB_ID = "flatten0";
/** In a second. The guest's own reads and writes pass through the same QEMU. */
const COPY_RATE_BYTES = 64 * MIB;
const FLATTEN_POLL_MS = 50;
/** A job that gets no further for so long is given up. */
const FLATTEN_STALL_MS = 30_000;
/** For each step of ending a job. */
const END_JOB_TIMEOUT_MS = 5000;
/**
 * Stays free while a disk is copied. While the job is there QEMU 7.2 copies what the guest reads as well, and a guest is stopped
 * by a read whose copy finds no room: no disk may get full by this, and a job ends long before others have filled it.
 */
const FLATTEN_RESERVE_BYTES = 256 * MIB;

type Qmp = Pick<Monitor, "execute">;

export interface FlattenOptions {
  /** The VM's id. */
  readonly id: string;
  /** The disk that stays below, of the VM's substrate. */
  readonly base: string;
  readonly paths: Paths;
  readonly failpoint: OnFailpoint;
  readonly signal: AbortSignal;
  /** Default FLATTEN_STALL_MS. */
  readonly stallMs?: number;
}

/**
 * Copies what lies between a VM's disk and its substrate's into the VM's own overlay, while its guest runs, or is paused. When this is
 * done QEMU has none of the instants open, and the VM's folder only the overlay that it writes to. It may be interrupted anywhere:
 * it goes by what QEMU really has, and what was copied by then need not be copied again.
 *
 * @throws VmSubstrateError INSUFFICIENT_DISK, QMP_*, TIMEOUT, ABORTED; the VM goes on with the disk that it had
 */
export async function flattenDisk({ qmp }: { readonly qmp: Qmp }, options: FlattenOptions): Promise<void> {
  const { base, failpoint, signal } = options;
  await endFlattening(qmp); // of an earlier owner
  const top = await topNode(qmp, signal);
  if (!isOn(await blockNodes(qmp, signal), top, base)) {
    try {
      await copy(qmp, top, options);
    } catch (error) {
      await endFlattening(qmp).catch(() => {}); // of a QEMU that has ended, or is silent
      throw signal.aborted ? signal.reason : error;
    }
    // A job that fails is gone as one that is done.
    if (!isOn(await blockNodes(qmp, signal), top, base)) throw gaveUp(options.id);
  }
  failpoint("flatten.copied");
  await letGo(qmp, top, options);
  await removeOthers(top, options);
  failpoint("flatten.detached");
}

/**
 * Ends the job, if there is one: nothing else can be done to the disk while it is there. What it has copied stays.
 * @throws VmSubstrateError QMP_*, TIMEOUT
 */
export async function endFlattening(qmp: Qmp): Promise<void> {
  const signal = AbortSignal.timeout(END_JOB_TIMEOUT_MS);
  const within = { timeoutMs: END_JOB_TIMEOUT_MS };
  for (let isFirst = true; (await job(qmp, within)) !== undefined; isFirst = false) {
    if (signal.aborted) throw unending();
    if (isFirst) {
      await qmp.execute("block-job-cancel", { device: JOB_ID }, within).catch((error: unknown) => {
        if (!isVmSubstrateError(error, "QMP_COMMAND_FAILED")) throw error; // it has ended by itself
      });
    } else await delay(FLATTEN_POLL_MS / 10);
  }
}

/** Source: QEMU QMP reference, block-stream. */
async function copy(
  qmp: Qmp,
  top: string,
  { base, paths, failpoint, signal, stallMs = FLATTEN_STALL_MS }: FlattenOptions,
): Promise<void> {
  const nodes = await blockNodes(qmp, signal);
  const baseNode = nodes.find(({ drv, file }) => drv !== "file" && file === base)?.["node-name"];
  if (baseNode === undefined) throw new VmSubstrateError("FORK_FAILED", `the VM's disk is not on ${base}`);
  const between = nodes.filter((node) => node.drv === "qcow2" && ![top, baseNode].includes(node["node-name"]));
  const neededBytes = between.reduce((sum, { image }) => sum + (image["actual-size"] ?? 0), 0);
  const requireRoom = (bytes: number) =>
    requireDisk(paths.stateDir, FLATTEN_RESERVE_BYTES + bytes, "flattening a VM's disk");
  await requireRoom(neededBytes);
  // Dismissed by itself: QEMU 7.2 crashes when it is asked for its nodes while a job that has ended is not (docs/adr/0024-flattening.md).
  const stream = { device: top, "job-id": JOB_ID, "base-node": baseNode, "auto-dismiss": true };
  // The name in the overlay's header: whoever opens it next must find the same disk below.
  const request = { ...stream, "backing-file": base, speed: COPY_RATE_BYTES, "on-error": "report" } as const;
  await qmp.execute("block-stream", request, { signal });
  failpoint("flatten.begun");
  let seen = { offset: -1, at: performance.now() };
  for (;;) {
    const running = await job(qmp, { signal });
    if (running === undefined) return;
    const now = performance.now();
    if (running.offset !== seen.offset) seen = { offset: running.offset, at: now };
    else if (now - seen.at > stallMs) throw stalled(stallMs);
    await requireRoom(0);
    await delay(FLATTEN_POLL_MS, undefined, { signal });
  }
}

/** Closes what is not under the disk any more. QEMU refuses to close what is. */
async function letGo(qmp: Qmp, top: string, { id, paths, signal }: FlattenOptions): Promise<void> {
  const names = (await blockNodes(qmp, signal)).map((node) => node["node-name"]);
  let left = names.filter((name) => isOurNode(name) && name !== top);
  while (left.length > 0) {
    const busy: string[] = [];
    let lastError: unknown;
    for (const name of left) {
      await qmp.execute("blockdev-del", { "node-name": name }, { signal }).catch((error: unknown) => {
        lastError = error;
        busy.push(name); // under another one, that may be closed next
      });
    }
    if (busy.length === left.length) throw lastError;
    left = busy;
  }
  const overlay = overlayOf(paths, id, top);
  const isBelow = (file: string) => [paths.forks, paths.vm(id).dir].some((dir) => file.startsWith(join(dir, "/")));
  const open = (await blockNodes(qmp, signal))
    .map(({ file }) => file)
    .find((file) => isBelow(file) && file !== overlay);
  if (open !== undefined)
    throw new VmSubstrateError("FORK_FAILED", `QEMU still has ${open} open after its disk was flattened`);
}

/** The VM's own names of what it wrote to before it was forked. */
async function removeOthers(top: string, { id, paths }: FlattenOptions): Promise<void> {
  const { dir } = paths.vm(id);
  const overlay = overlayOf(paths, id, top);
  for (const name of await readdir(dir)) {
    const file = join(dir, name);
    if (paths.isOverlay(name) && file !== overlay) await rm(file, { force: true });
  }
}

/** Whether nothing is between the VM's overlay and its substrate's disk. */
function isOn(nodes: readonly NamedBlockNode[], top: string, base: string): boolean {
  return nodes.find((node) => node["node-name"] === top)?.backing_file === base;
}

function blockNodes(qmp: Qmp, signal: AbortSignal): Promise<readonly NamedBlockNode[]> {
  return qmp.execute("query-named-block-nodes", { flat: true }, { signal });
}

async function job(qmp: Qmp, within: { readonly timeoutMs?: number; readonly signal?: AbortSignal }) {
  const jobs = await qmp.execute("query-block-jobs", {}, within);
  return jobs.find(({ device }) => device === JOB_ID);
}

function gaveUp(id: string): VmSubstrateError {
  const message = `QEMU gave up flattening the disk of VM ${id}: something could not be read or written; the disk is as it was`;
  return new VmSubstrateError("QMP_COMMAND_FAILED", message, { details: { id } });
}

function stalled(timeoutMs: number): VmSubstrateError {
  const message = `flattening a VM's disk got no further for ${timeoutMs} ms`;
  return new VmSubstrateError("TIMEOUT", message, { details: { timeoutMs } });
}

function unending(): VmSubstrateError {
  const message = `QEMU did not end the flattening of a VM's disk within ${END_JOB_TIMEOUT_MS} ms`;
  return new VmSubstrateError("TIMEOUT", message, { details: { timeoutMs: END_JOB_TIMEOUT_MS } });
}
