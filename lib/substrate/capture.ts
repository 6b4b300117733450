import { addAbortListener, once } from "node:events";
import { chmod, type FileHandle, open, rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { hostFailure, isVmSubstrateError, KIB, messageOf, VmSubstrateError } from "../core/index.ts";
import { type QemuInstance, RAM_BLOCK } from "../host/index.ts";
import { MigrationStream } from "./migration-stream.ts";
import { writeAll, ZERO_PAGE } from "./sparse-file.ts";

const CAPTURE_POLL_MS = 2;
/** QEMU stops the guest when what is left takes no longer than this. */
const PRECOPY_DOWNTIME_MS = 20;
/** A guest that writes faster than its memory is read is stopped after this. */
const PRECOPY_MS = 3000;
/** After an attempt that failed the guest has to run again, whatever its signal says. */
const UNDO_TIMEOUT_MS = 5000;
/** Neighbouring pages are written together. */
const RUN_BYTES = 256 * KIB;
const SWITCH_OFF = [{ capability: "pause-before-switchover", state: false }];

export interface CaptureFiles {
  /** New, sparse: the guest's memory. On the shared-memory file system. */
  readonly ram: string;
  /** New: the device state, for a VM that maps `ram`. */
  readonly state: string;
}

export interface Captured {
  /** How long the guest stood still, milliseconds; at most a poll more than it really did. */
  readonly pauseMs: number;
  /** Bytes of memory that were written, pages that were sent again included. */
  readonly writtenBytes: number;
}

export interface CaptureOptions {
  /**
   * Reads memory while the guest runs (QEMU's precopy), and stops it only for what it wrote last. Not for TCG: there QEMU 7.2 misses
   * writes, a few pages in one capture of four of a guest that writes a lot (docs/adr/0018-fork.md).
   */
  readonly isLive: boolean;
  /** What else belongs to the instant: done while the guest stands still. */
  readonly atInstant: () => Promise<void>;
  readonly signal: AbortSignal;
}

/**
 * Takes memory and device state of a running guest at one instant; then the guest goes on.
 *
 * @throws VmSubstrateError FORK_FAILED, QMP_*, ABORTED; the guest runs again
 */
export async function captureRunning(
  instance: QemuInstance,
  files: CaptureFiles,
  { isLive, atInstant, signal }: CaptureOptions,
): Promise<Captured> {
  const { qmp, paths } = instance;
  await using stack = new AsyncDisposableStack();
  const server = createServer({ pauseOnConnect: true });
  stack.defer(async () => {
    server.close();
    await rm(paths.migration, { force: true });
  });
  const ended = new AbortController(); // QEMU may never connect, or never end
  const reading = AbortSignal.any([signal, ended.signal]);
  const connecting = once(server, "connection", { signal: reading }).then(([socket]) => socket as Socket);
  connecting.catch(() => {});
  await rm(paths.migration, { force: true });
  server.listen(paths.migration);
  await once(server, "listening");
  await chmod(paths.migration, 0o600);

  const broken = new AbortController();
  const within = AbortSignal.any([signal, broken.signal]);
  const receiving = connecting.then((socket) => receive(socket, files, reading));
  // Nobody reads on: QEMU would wait for ever.
  receiving.catch((error: unknown) => broken.abort(error));
  const capabilities = [
    { capability: "x-ignore-shared", state: true },
    { capability: "pause-before-switchover", state: true },
  ];
  try {
    await qmp.execute("migrate-set-capabilities", { capabilities }, { signal: within });
    const parameters = { "max-bandwidth": 0, "downtime-limit": PRECOPY_DOWNTIME_MS };
    await qmp.execute("migrate-set-parameters", parameters, { signal: within });
    const startedAt = performance.now();
    if (!isLive) await qmp.execute("stop", {}, { signal: within });
    await qmp.execute("migrate", { uri: `unix:${paths.migration}` }, { signal: within });
    const stoppedAt = await awaitPause(instance, within);
    const pausedAt = isLive ? stoppedAt : startedAt;
    await atInstant();
    await qmp.execute("migrate-continue", { state: "pre-switchover" }, { signal: within });
    await awaitStatus(instance, "completed", within);
    await qmp.execute("cont", {}, { signal: within });
    const pauseMs = performance.now() - pausedAt;
    await qmp.execute("migrate-set-capabilities", { capabilities: SWITCH_OFF }, { signal: within });
    return { pauseMs, writtenBytes: await receiving };
  } catch (error) {
    // Before what follows breaks the stream as well.
    const cause: unknown = broken.signal.aborted ? broken.signal.reason : error;
    await goOn(instance);
    ended.abort();
    await receiving.catch(() => {});
    if (signal.aborted) throw signal.reason;
    throw cause;
  }
}

/**
 * Ends an attempt that somebody gave up, if there is one, and lets the guest run. Never throws: a QEMU that does not answer
 * is noticed by others.
 */
async function goOn(instance: QemuInstance): Promise<void> {
  try {
    await abandonCapture(instance, UNDO_TIMEOUT_MS);
    await instance.qmp.execute(
      "migrate-set-capabilities",
      { capabilities: SWITCH_OFF },
      { timeoutMs: UNDO_TIMEOUT_MS },
    );
    await instance.qmp.execute("cont", {}, { timeoutMs: UNDO_TIMEOUT_MS });
  } catch {}
}

/**
 * Ends what an earlier owner has begun, if it did: nobody reads that stream any more.
 * @returns whether there was something @throws VmSubstrateError QMP_*, ABORTED
 */
export async function abandonCapture({ qmp }: Pick<QemuInstance, "qmp">, timeoutMs: number): Promise<boolean> {
  const within = { timeoutMs, signal: AbortSignal.timeout(timeoutMs) };
  for (let isFirst = true; ; isFirst = false) {
    const { status = "none" } = await qmp.execute("query-migrate", {}, within);
    if (["none", "cancelled", "failed", "completed"].includes(status)) return !isFirst;
    if (isFirst) await qmp.execute("migrate_cancel", {}, within);
    await delay(CAPTURE_POLL_MS, undefined, { signal: within.signal });
  }
}

/** @returns `performance.now()` of when the guest may have been stopped at the earliest */
async function awaitPause(instance: QemuInstance, signal: AbortSignal): Promise<number> {
  const startedAt = performance.now();
  let stoppedAt: number | undefined;
  for (let before = startedAt; ; ) {
    const now = performance.now();
    if (await isAt(instance, "pre-switchover", signal)) return stoppedAt ?? before;
    before = now;
    if (stoppedAt === undefined && now - startedAt > PRECOPY_MS) {
      stoppedAt = now;
      await instance.qmp.execute("stop", {}, { signal });
    }
    await delay(CAPTURE_POLL_MS, undefined, { signal });
  }
}

async function awaitStatus(instance: QemuInstance, wanted: "completed", signal: AbortSignal): Promise<void> {
  while (!(await isAt(instance, wanted, signal))) await delay(CAPTURE_POLL_MS, undefined, { signal });
}

async function isAt(
  { qmp }: QemuInstance,
  wanted: "pre-switchover" | "completed",
  signal: AbortSignal,
): Promise<boolean> {
  const info = await qmp.execute("query-migrate", {}, { signal });
  if (info.status === wanted) return true;
  if (info.status === "failed" || info.status === "cancelled" || info.status === "completed") {
    const message = `QEMU could not save its memory: ${info["error-desc"] ?? info.status}`;
    throw new VmSubstrateError("FORK_FAILED", message);
  }
  return false;
}

/** @returns bytes of memory that were written */
async function receive(socket: Socket, files: CaptureFiles, signal: AbortSignal): Promise<number> {
  using end = new DisposableStack();
  end.defer(() => socket.destroy());
  end.use(addAbortListener(signal, () => socket.destroy())); // also when it is aborted already
  await using ram = await open(files.ram, "wx", 0o600);
  await using state = await open(files.state, "wx", 0o600);
  const pages = new PageWriter(ram);
  let rest: Buffer[] = [];
  const stream = new MigrationStream(RAM_BLOCK, {
    page: (address, bytes) => pages.put(address, bytes),
    rest: (bytes) => rest.push(Buffer.from(bytes)),
  });
  try {
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      stream.push(chunk);
      await pages.flush("complete");
      if (rest.length > 0) await state.writeFile(Buffer.concat(rest));
      rest = [];
    }
  } catch (error) {
    if (isVmSubstrateError(error)) throw error;
    const message = `QEMU's migration stream broke off: ${messageOf(error)}`;
    throw hostFailure(error) ?? new VmSubstrateError("FORK_FAILED", message, { cause: error });
  }
  const sizeBytes = stream.end();
  await pages.flush("all");
  await ram.truncate(sizeBytes);
  return pages.writtenBytes;
}

/** Writes pages where they belong. A page that was never anything but zero stays a hole. */
class PageWriter {
  writtenBytes = 0;
  readonly #file: FileHandle;
  readonly #isWritten = new Set<number>();
  #runs: Run[] = [];
  /** Buffers that were written, to be filled again. */
  readonly #spare: Buffer[] = [];

  constructor(file: FileHandle) {
    this.#file = file;
  }

  put(address: number, bytes: Buffer | undefined): void {
    if (bytes === undefined && !this.#isWritten.has(address)) return;
    this.#isWritten.add(address);
    let run = this.#runs.at(-1);
    if (run === undefined || run.at + run.length !== address || run.length === run.bytes.length) {
      run = { at: address, bytes: this.#spare.pop() ?? Buffer.allocUnsafe(RUN_BYTES), length: 0 };
      this.#runs.push(run);
    }
    run.length += (bytes ?? ZERO_PAGE).copy(run.bytes, run.length);
  }

  /** In the order in which they came: a page that was sent again is the later one. @param which the last one may still grow */
  async flush(which: "complete" | "all"): Promise<void> {
    const runs = this.#runs.splice(0, this.#runs.length - (which === "all" ? 0 : 1));
    for (const { at, bytes, length } of runs) {
      await writeAll(this.#file, bytes.subarray(0, length), at);
      this.writtenBytes += length;
      this.#spare.push(bytes);
    }
  }
}

/** Pages that follow one another. */
interface Run {
  readonly at: number;
  readonly bytes: Buffer;
  length: number;
}
