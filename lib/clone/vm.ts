import {
  type EventSource,
  Events,
  isVmSubstrateError,
  VmSubstrateError,
  validate,
  withDeadline,
} from "../core/index.ts";
import { type ExitCause, type ProcessMemory, processMemory } from "../host/index.ts";
import type { Identity } from "../netcfg/index.ts";
import { GuestAgent, guestExec, readGuestFile, writeGuestFile } from "../qmp/index.ts";
import type { RestoredClone } from "./launch.ts";
import type { Timings } from "./phases.ts";
import {
  argvSchema,
  contentSchema,
  type ExecOptions,
  execOptionsSchema,
  type FileOptions,
  fileOptionsSchema,
  pathSchema,
  type ReadFileOptions,
  readFileOptionsSchema,
} from "./vm-options.ts";

const RECONNECT_TIMEOUT_MS = 5000;

export interface ExecResult {
  /** Null when a signal ended the program. */
  readonly exitCode: number | null;
  readonly signal: number | null;
  /** Decoded as UTF-8; `stdoutBytes` has it as it came. */
  readonly stdout: string;
  readonly stderr: string;
  readonly stdoutBytes: Uint8Array;
  readonly stderrBytes: Uint8Array;
  readonly truncated: boolean;
}

/** `docked`: a waiting clone was claimed. `cloned`: made when it was asked for. `booted`: the baseline's cold boot. */
export type VmOrigin = "docked" | "cloned" | "booted";

export type VmState = "running" | "released" | "failed";

export type VmEvents = {
  /** QEMU ended without being asked to. The VM's resources were given back. */
  exit: [cause: ExitCause];
  released: [];
};

export interface VmParts {
  readonly id: string;
  readonly identity: Identity;
  readonly substrate: { readonly name: string; readonly version: number };
  readonly origin: VmOrigin;
  readonly clone: RestoredClone;
  readonly timings: Timings;
  readonly releaseLeases: () => void;
}

/** A personal, running VM. `release()` it, or let `await using` do so. */
export class Vm implements AsyncDisposable {
  readonly id: string;
  readonly hostname: string;
  /** IPv4, dotted quad. */
  readonly address: string;
  readonly mac: string;
  /** 32 hexadecimal digits, machine-id(5). */
  readonly machineId: string;
  /** The public SSH host key, as in known_hosts: "ssh-ed25519 AAAA...". */
  readonly sshHostKey: string;
  readonly substrate: { readonly name: string; readonly version: number };
  readonly origin: VmOrigin;
  /** Where the time of its activation went. */
  readonly timings: Timings;
  readonly #clone: RestoredClone;
  readonly #releaseLeases: () => void;
  readonly #events = new Events<VmEvents>();
  #agent: Promise<GuestAgent> | undefined;
  #state: VmState = "running";
  #gone: Promise<void> | undefined;

  constructor(parts: VmParts) {
    this.id = parts.id;
    this.hostname = parts.identity.hostname;
    this.address = parts.identity.address;
    this.mac = parts.identity.mac;
    this.machineId = parts.identity.machineId;
    this.sshHostKey = parts.identity.sshHostKey.publicKey;
    this.substrate = parts.substrate;
    this.origin = parts.origin;
    this.timings = parts.timings;
    this.#clone = parts.clone;
    this.#releaseLeases = parts.releaseLeases;
    this.#adopt(parts.clone.agent);
    this.#agent = Promise.resolve(parts.clone.agent);
    void parts.clone.instance.process.exited.then((cause) => this.#onExit(cause));
  }

  get state(): VmState {
    return this.#state;
  }

  get events(): EventSource<VmEvents> {
    return this.#events;
  }

  /** QEMU's process id, for people who look at /proc. */
  get pid(): number {
    return this.#clone.instance.process.pid;
  }

  /**
   * Runs a program in the guest: an argument list, never a shell. A program that fails is a result, not an error.
   *
   * @throws VmSubstrateError VM_GONE, INVALID_ARGUMENT, GUEST_EXEC_TIMEOUT, GUEST_COMMAND_FAILED (no such program),
   *   GUEST_AGENT_*, ABORTED
   */
  async exec(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    const program = validate(argvSchema, argv, "exec: argv");
    const valid = validate(execOptionsSchema, options, "exec");
    const { stdout, stderr, ...rest } = await this.#withAgent("exec", (agent) => guestExec(agent, program, valid));
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    return { ...rest, stdout: text(stdout), stderr: text(stderr), stdoutBytes: stdout, stderrBytes: stderr };
  }

  /** @throws VmSubstrateError VM_GONE, INVALID_ARGUMENT, GUEST_COMMAND_FAILED, GUEST_AGENT_*, TIMEOUT, ABORTED */
  async readFile(path: string, options: ReadFileOptions = {}): Promise<Uint8Array> {
    validate(pathSchema, path, "readFile: path");
    const { maxBytes, ...within } = validate(readFileOptionsSchema, options, "readFile");
    return this.#withAgent("readFile", (agent) =>
      withDeadline({ what: `read of ${path}`, ...within }, (signal) =>
        readGuestFile(agent, path, { ...within, maxBytes, signal }),
      ),
    );
  }

  /** Replaces the file's content. @throws VmSubstrateError as `readFile` */
  async writeFile(path: string, content: string | Uint8Array, options: FileOptions = {}): Promise<void> {
    validate(pathSchema, path, "writeFile: path");
    validate(contentSchema, content, "writeFile: content");
    const within = validate(fileOptionsSchema, options, "writeFile");
    await this.#withAgent("writeFile", (agent) =>
      withDeadline({ what: `write of ${path}`, ...within }, (signal) =>
        writeGuestFile(agent, path, content, { ...within, signal }),
      ),
    );
  }

  /** QEMU's memory, guest included. */
  async memory(): Promise<ProcessMemory> {
    this.#requireRunning("memory");
    return processMemory(this.pid);
  }

  /** Ends the VM and gives back all it held. Idempotent; resolves when nothing of it is left. */
  async release(): Promise<void> {
    const first = this.#state === "running";
    if (first) this.#state = "released";
    await this.#dispose();
    if (first) this.#announce(() => this.#events.emit("released"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  async #onExit(cause: ExitCause): Promise<void> {
    if (this.#state !== "running") return;
    this.#state = "failed";
    // Listeners hear of the end even when something of it could not be removed; the next opening clears that.
    await this.#dispose().catch(() => {});
    this.#announce(() => this.#events.emit("exit", cause));
  }

  /** A listener that throws is its owner's mistake, and must not become this VM's. */
  #announce(emit: () => void): void {
    try {
      emit();
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  }

  #dispose(): Promise<void> {
    this.#gone ??= (async () => {
      try {
        await this.#clone[Symbol.asyncDispose]();
      } finally {
        this.#releaseLeases();
      }
    })();
    return this.#gone;
  }

  async #withAgent<T>(what: string, work: (agent: GuestAgent) => Promise<T>): Promise<T> {
    this.#requireRunning(what);
    try {
      const agent = await this.#connectedAgent();
      return await this.#clone.instance.process.guard(what, work(agent));
    } catch (error) {
      // The channel ends with the process: the VM's end is then the better explanation.
      if (this.#state !== "running" || isVmSubstrateError(error, "QEMU_EXITED")) throw this.#goneError(what, error);
      throw error;
    }
  }

  #requireRunning(what: string): void {
    if (this.#state !== "running") throw this.#goneError(what);
  }

  #goneError(what: string, cause?: unknown): VmSubstrateError {
    const message = `${what}: VM ${this.hostname} (${this.id}) is ${this.#state}`;
    return new VmSubstrateError("VM_GONE", message, { cause, details: { id: this.id, state: this.#state } });
  }

  /** A guest that says too much loses its agent channel, not its VM: the next call makes a new one. */
  #adopt(agent: GuestAgent): void {
    agent.events.once("close", () => {
      this.#agent = undefined;
    });
  }

  #connectedAgent(): Promise<GuestAgent> {
    if (this.#agent !== undefined) return this.#agent;
    const connecting = GuestAgent.connect(this.#clone.instance.paths.agent, { timeoutMs: RECONNECT_TIMEOUT_MS });
    this.#agent = connecting;
    connecting.then(
      (agent) => this.#adopt(agent),
      () => {
        this.#agent = undefined;
      },
    );
    return connecting;
  }
}
