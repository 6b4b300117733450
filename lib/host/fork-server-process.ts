import { type ChildProcess, spawn } from "node:child_process";
import { readdir } from "node:fs/promises";
import { Socket } from "node:net";
import { getSystemErrorMessage, getSystemErrorName } from "node:util";
import { KIB, withDeadline } from "../core/index.ts";
import {
  type Answer,
  AnswerReader,
  type ForkOrder,
  forkRequest,
  PROTOCOL_VERSION,
  signalRequest,
  startRequest,
  zygoteRequest,
} from "./fork-server-protocol.ts";
import { ForkedProcess, type ProcessParent } from "./forked-process.ts";
import { processStartTimeSync } from "./proc.ts";
import type { SpawnRequest, VmPlace } from "./process-handle.ts";

/** From its start to its first answer: 25 ms when idle. */
const HANDSHAKE_TIMEOUT_MS = 5000;
/** A fork takes 1 ms; a server that needs this long is stuck. */
const START_TIMEOUT_MS = 5000;
const END_TIMEOUT_MS = 2000;
/** What a child's command line can hold, QEMU's name apart: that of a clone has 2 to 3 KiB. */
const ARGUMENT_ROOM_BYTES = 16 * KIB;
/** Standard input, output and error, and the control channel: all that a server may have open. */
const SERVER_DESCRIPTORS = "0 1 2 3";

export interface ServerProgram {
  /** What a child's command line begins with. */
  readonly name: string;
  readonly executable: string;
  /** Compiled from native/fork-server.c. */
  readonly library: string;
}

/**
 * One running fork server. It ends with this process, or with `close`; what it has started does not.
 *
 * Node waits for it only while somebody waits for one of its children, as it would for children of its own.
 */
export class ForkServerProcess implements ProcessParent {
  /** When it has ended, for whatever reason, and its children were told. */
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;
  readonly #control: Socket;
  readonly #ready = Promise.withResolvers<number>();
  readonly #pending = new Map<number, PromiseWithResolvers<ForkedProcess | undefined>>();
  readonly #children = new Map<number, ForkedProcess>();
  /** Those of `#children` whose end somebody waits for. */
  readonly #awaited = new Set<ForkedProcess>();
  #argumentRoom = 0;
  #requests = 0;

  private constructor(child: ChildProcess, control: Socket) {
    this.#child = child;
    this.#control = control;
    this.#ready.promise.catch(() => {});
    const answers = new AnswerReader();
    control.on("data", (chunk: Buffer) => {
      for (const answer of answers.read(chunk)) this.#on(answer);
    });
    control.on("error", () => {}); // what matters of it is the end that follows
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    control.on("close", () => {
      this.#onEnd();
      resolve();
    });
    child.on("error", (cause) => this.#ready.reject(cause));
    child.unref();
  }

  /**
   * Starts a server and looks whether it will do.
   * @throws when it cannot be started, does not answer, or has more than a server should; nothing is left running
   */
  static async start(program: ServerProgram, signal?: AbortSignal): Promise<ForkServerProcess> {
    // A program into which the library was not loaded ends at its first argument.
    const child = spawn(program.executable, ["-version", "-".repeat(ARGUMENT_ROOM_BYTES)], {
      argv0: program.name,
      stdio: ["ignore", "ignore", "ignore", "pipe"],
      env: { ...process.env, LD_PRELOAD: preloads(program.library), VM_SUBSTRATE_FORK_SERVER: "1" },
      detached: true,
    });
    child.on("error", () => {}); // a child that has no pipes has nobody yet who would listen
    const control: unknown = (child.stdio as ChildProcess["stdio"] | undefined)?.[3];
    if (!(control instanceof Socket)) throw new Error("it cannot be started");
    const server = new ForkServerProcess(child, control);
    try {
      await withDeadline({ what: "handshake", timeoutMs: HANDSHAKE_TIMEOUT_MS, signal }, () => server.#handshake());
      return server;
    } catch (error) {
      child.kill("SIGKILL");
      control.destroy();
      throw error;
    }
  }

  /**
   * @returns undefined when the server ended before it answered: the process was not started then
   * @throws VmSubstrateError INVALID_ARGUMENT; an error of the system where a file, memory or a process is missing
   */
  spawn(request: SpawnRequest): Promise<ForkedProcess | undefined> {
    return this.#ask((number) => startRequest(number, request, this.#argumentRoom));
  }

  /** As `spawn`, of a process that `fork` can be asked of. It ends with the server. */
  spawnZygote(request: SpawnRequest, place: VmPlace): Promise<ForkedProcess | undefined> {
    return this.#ask((number) => zygoteRequest(number, request, place, this.#argumentRoom));
  }

  /** A copy of a zygote as it is at this moment; for the server it is a child like others. Errors as of `spawn`. */
  fork(zygote: number, order: ForkOrder): Promise<ForkedProcess | undefined> {
    return this.#ask((number) => forkRequest(number, zygote, order, this.#argumentRoom));
  }

  async #ask(request: (number: number) => Buffer): Promise<ForkedProcess | undefined> {
    const number = ++this.#requests;
    const bytes = request(number);
    if (!this.#control.writable) return undefined;
    const started = Promise.withResolvers<ForkedProcess | undefined>();
    this.#pending.set(number, started);
    this.#updateRef();
    this.#control.write(bytes);
    // The end of a stuck server answers for it.
    const deadline = setTimeout(() => this.#child.kill("SIGKILL"), START_TIMEOUT_MS);
    try {
      return await started.promise;
    } finally {
      clearTimeout(deadline);
    }
  }

  signal(pid: number, signal: NodeJS.Signals): void {
    if (this.#control.writable) this.#control.write(signalRequest(pid, signal));
  }

  release(child: ForkedProcess): void {
    this.#awaited.delete(child);
    this.#updateRef();
  }

  /** Idempotent. Its children run on, and their handles go on to tell of their end. */
  async close(): Promise<void> {
    this.#control.ref();
    this.#control.end();
    const deadline = setTimeout(() => this.#child.kill("SIGKILL"), END_TIMEOUT_MS);
    await this.ended;
    clearTimeout(deadline);
  }

  async #handshake(): Promise<void> {
    this.#argumentRoom = await this.#ready.promise;
    // A library's thread would be missing in the children, and a file that it has open would be in the place of theirs.
    const { pid } = this.#child;
    const threads = await readdir(`/proc/${pid}/task`);
    if (threads.length !== 1) throw new Error(`a library has started ${threads.length - 1} threads`);
    const descriptors = (await readdir(`/proc/${pid}/fd`)).toSorted((a, b) => Number(a) - Number(b)).join(" ");
    if (descriptors !== SERVER_DESCRIPTORS) throw new Error(`a library has opened descriptors: ${descriptors}`);
    this.#updateRef();
  }

  #on(answer: Answer | undefined): void {
    if (answer?.kind === "ready") {
      if (answer.version === PROTOCOL_VERSION) this.#ready.resolve(answer.argumentRoom);
      else this.#ready.reject(new Error(`it speaks version ${answer.version}, expected ${PROTOCOL_VERSION}`));
    } else if (answer?.kind === "started") {
      this.#onStarted(answer);
    } else if (answer?.kind === "ended") {
      const child = this.#children.get(answer.pid);
      this.#children.delete(answer.pid);
      child?.reaped(answer.cause);
      if (child !== undefined) this.release(child);
    } else {
      this.#control.destroy();
    }
  }

  #onStarted({ request, pid, errno }: Answer & { readonly kind: "started" }): void {
    const pending = this.#pending.get(request);
    this.#pending.delete(request);
    if (pid === 0) {
      const code = getSystemErrorName(-errno);
      pending?.reject(Object.assign(new Error(`${code}: ${getSystemErrorMessage(-errno)}`), { code }));
      this.#updateRef();
      return;
    }
    // The server has not yet said that it was reaped, so that the PID is still its own.
    const child = new ForkedProcess(pid, processStartTimeSync(pid), this);
    this.#children.set(pid, child);
    this.#awaited.add(child);
    pending?.resolve(child);
  }

  #onEnd(): void {
    this.#ready.reject(new Error("it ended without an answer"));
    for (const started of this.#pending.values()) started.resolve(undefined);
    for (const child of this.#children.values()) child.orphaned();
    this.#pending.clear();
    this.#children.clear();
    this.#awaited.clear();
  }

  #updateRef(): void {
    if (this.#pending.size + this.#awaited.size > 0) this.#control.ref();
    else this.#control.unref();
  }
}

/** Ours first, then what the environment has preloaded into everything. */
function preloads(library: string): string {
  return [library, process.env.LD_PRELOAD ?? ""].filter((name) => name !== "").join(":");
}
