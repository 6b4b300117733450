import { type EventSource, Events, isVmSubstrateError, validate } from "../core/index.ts";
import { type ExitCause, type ProcessMemory, type ProcessName, processMemory } from "../host/index.ts";
import type { GuestAgent } from "../qmp/index.ts";
import type { Clone } from "./clone.ts";
import type { ForkOptions } from "./fork-options.ts";
import type { FreezeOptions, Frozen } from "./freeze-options.ts";
import { type ConsoleOptions, GuestConsole } from "./guest-console.ts";
import { GuestPower } from "./guest-power.ts";
import { execution, reading, writing } from "./guest-programs.ts";
import type { Timings } from "./phases.ts";
import type { Resources } from "./resources.ts";
import { Responsiveness } from "./responsiveness.ts";
import { type Session, type SessionOptions, Sessions, sessionRequest } from "./session/index.ts";
import { shrinking } from "./shrink.ts";
import { endVm } from "./vm-end.ts";
import {
  explained,
  goneError,
  isMonitorSilent,
  isUnanswered,
  noSignOfLife,
  parkedError,
  silentError,
} from "./vm-errors.ts";
import {
  type ExecOptions,
  type ExecResult,
  type FileOptions,
  lifetimeSchema,
  type ReadFileOptions,
  type ShrinkRequest,
} from "./vm-options.ts";
import type { VmOwner } from "./vm-owner.ts";
import type { VmParts } from "./vm-parts.ts";
import { isEnd, type VmEvents, type VmOrigin, type VmState } from "./vm-state.ts";

/** A personal, running VM. `release()` it, or let `await using` do so. */
export class Vm implements AsyncDisposable {
  readonly id: string;
  readonly hostname: string;
  /** IPv4, dotted quad. */
  readonly address: string;
  /** IPv6, where its network has one. */
  readonly address6: string | undefined;
  readonly mac: string;
  /** 32 hexadecimal digits, machine-id(5). */
  readonly machineId: string;
  /** The public SSH host key, as in known_hosts: "ssh-ed25519 AAAA...". */
  readonly sshHostKey: string;
  readonly substrate: { readonly name: string; readonly version: number };
  readonly origin: VmOrigin;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: Date;
  /** Where the time of its activation went. */
  readonly timings: Timings;
  readonly #parts: VmParts<Vm>;
  readonly #clone: Clone;
  readonly #power: GuestPower;
  readonly #console: GuestConsole;
  readonly #sessions: Sessions;
  readonly #owner: VmOwner<Vm>;
  readonly #events = new Events<VmEvents>();
  readonly #responsiveness = new Responsiveness(this.#events);
  #resources: Resources;
  #state: Exclude<VmState, "unresponsive">;
  /** Parking and resuming take turns. */
  #last: Promise<unknown> = Promise.resolve();
  #gone: Promise<void> | undefined;

  /** @internal */
  constructor(parts: VmParts<Vm>) {
    this.id = parts.id;
    this.hostname = parts.identity.hostname;
    this.address = parts.identity.address;
    this.address6 = parts.identity.address6;
    this.mac = parts.identity.mac;
    this.machineId = parts.identity.machineId;
    this.sshHostKey = parts.identity.sshHostKey;
    this.substrate = parts.substrate;
    const { cpus, memoryMiB, diskMiB } = parts.resources;
    this.#resources = Object.freeze({ cpus, memoryMiB, diskMiB });
    this.origin = parts.origin;
    this.labels = parts.labels;
    this.createdAt = parts.createdAt;
    this.timings = parts.timings;
    this.#parts = parts;
    this.#clone = parts.clone;
    this.#power = new GuestPower(parts);
    this.#console = new GuestConsole(parts.clone.instance);
    this.#sessions = new Sessions(parts.clone.instance, parts.state !== undefined);
    this.#owner = parts.owner;
    this.#state = parts.state ?? "running";
    void parts.clone.instance.process.exited.then((cause) => this.#onExit(cause));
  }

  get state(): VmState {
    return this.#state === "running" && !this.#responsiveness.isThere ? "unresponsive" : this.#state;
  }

  /** What it has of its machine: as it was frozen, or as it was asked for, less what was taken away since. */
  get resources(): Resources {
    return this.#resources;
  }

  get events(): EventSource<VmEvents> {
    return this.#events;
  }

  /** QEMU's process id, for people who look at /proc. */
  get pid(): number {
    return this.#clone.instance.process.pid;
  }

  /** What a later owner knows its process by; undefined when it has ended. @internal */
  processName(): Promise<ProcessName | undefined> {
    return this.#clone.instance.process.name();
  }

  /** When it will be released or parked by itself; undefined when never. */
  get expiresAt(): Date | undefined {
    return this.#owner.expiry?.at;
  }

  /**
   * Runs a program in the guest: an argument list, never a shell. A program that fails is a result, not an error.
   *
   * @throws VmSubstrateError VM_GONE, VM_PARKED, INVALID_ARGUMENT, GUEST_EXEC_TIMEOUT, GUEST_COMMAND_FAILED (no such program),
   *   GUEST_AGENT_*, ABORTED
   */
  async exec(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    return this.#withAgent("exec", execution(argv, options, this.#parts.env));
  }

  /**
   * Runs a program in the guest as if it ran here: its streams are this session's, with a terminal where one is asked for.
   * Resolves when it runs. Whoever opens a session ends it, or its program does.
   *
   * @throws VmSubstrateError VM_GONE, VM_PARKED, INVALID_ARGUMENT, GUEST_COMMAND_FAILED (no such program or folder),
   *   SESSION_FAILED, GUEST_AGENT_*, RECIPE_TOOL_MISSING (no compiler), TIMEOUT, ABORTED
   */
  async session(argv: readonly string[], options: SessionOptions = {}): Promise<Session> {
    const request = sessionRequest(argv, options, this.#parts.env);
    return this.#withAgent("session", (agent) => this.#sessions.open(agent, request));
  }

  /** @throws VmSubstrateError VM_GONE, VM_PARKED, INVALID_ARGUMENT, GUEST_COMMAND_FAILED, GUEST_AGENT_*, TIMEOUT, ABORTED */
  async readFile(path: string, options: ReadFileOptions = {}): Promise<Uint8Array> {
    return this.#withAgent("readFile", reading(path, options));
  }

  /** Replaces the file's content. @throws VmSubstrateError as `readFile` */
  async writeFile(path: string, content: string | Uint8Array, options: FileOptions = {}): Promise<void> {
    await this.#withAgent("writeFile", writing(path, content, options));
  }

  /**
   * The end of what the guest has written to its serial console since it was cloned or booted, fit to be shown: without control
   * sequences, and with every other control character but line feed and tab escaped. Each caller gets what earlier ones got as
   * well. After the VM was taken over by another owner, what was read before is gone.
   *
   * @throws VmSubstrateError VM_GONE, VM_UNRESPONSIVE when QEMU does not answer, INVALID_ARGUMENT, ABORTED
   */
  async console(options: ConsoleOptions = {}): Promise<string> {
    this.#requireAlive("console");
    return explained(this, "console", this.#console.tail(options), isMonitorSilent);
  }

  /** QEMU's memory, guest included. @throws VmSubstrateError VM_GONE */
  async memory(): Promise<ProcessMemory> {
    this.#requireAlive("memory");
    const memory = await processMemory(this.pid);
    if (memory === undefined) throw goneError(this, "memory");
    return memory;
  }

  /**
   * Pauses the guest. It keeps its memory, disk and identity, and takes no processor time until `resume()`. Idempotent.
   * @throws VmSubstrateError VM_GONE, VM_UNRESPONSIVE, STORE_UNWRITABLE
   */
  park(): Promise<void> {
    return this.#inTurn("park", async () => {
      if (this.#state === "parked") return;
      await this.#owner.parking();
      try {
        this.#parts.failpoint("park.intended");
        await this.#monitor("park", "stop");
        this.#parts.failpoint("park.paused");
      } catch (error) {
        if (this.#isGone) throw goneError(this, "park", error);
        await this.#owner.resuming();
        await this.#monitor("park", "cont").catch(() => {});
        throw error;
      }
      this.#requireAlive("park"); // it may be released while QEMU answers
      this.#state = "parked";
      this.#events.announce("parked");
    });
  }

  /**
   * Lets a parked guest run again, with its clock set right before anybody hears of it. Idempotent.
   * @throws VmSubstrateError VM_GONE, VM_UNRESPONSIVE when the guest does not answer: it is parked again, IDENTITY_UNVERIFIED
   */
  resume(): Promise<void> {
    return this.#inTurn("resume", async () => {
      if (this.#state === "running") return;
      await this.#owner.resuming();
      this.#parts.failpoint("resume.intended");
      try {
        await this.#monitor("resume", "cont");
        this.#parts.failpoint("resume.running");
        await this.#power.mendClock();
        this.#parts.failpoint("resume.verified");
      } catch (error) {
        if (this.#isGone) throw goneError(this, "resume", error);
        await this.#owner.parking();
        await this.#monitor("resume", "stop").catch(() => {});
        throw isUnanswered(error) ? silentError(this, "resume", "its guest", error) : error;
      }
      this.#requireAlive("resume");
      this.#state = "running";
      this.#events.announce("resumed");
    });
  }

  /**
   * The first word with a VM that was taken over: its guest is made to run or to be paused as its record says, whatever its
   * last owner got to. Never throws; one that does not answer is unresponsive. @internal
   */
  async settle(timeoutMs: number): Promise<void> {
    if (this.#isGone) return;
    try {
      await this.#power.settle(this.#state === "parked" ? "parked" : "running", timeoutMs);
      await this.#sessions.sweep();
    } catch (cause) {
      if (this.#isGone) return;
      this.#responsiveness.missed(silentError(this, "taking over", "it", cause));
    }
  }

  /**
   * Puts the VM's expiry off, to `ms` milliseconds from now.
   * @throws VmSubstrateError VM_GONE, INVALID_ARGUMENT beyond its greatest lifetime
   */
  async extend(ms: number): Promise<Date> {
    validate(lifetimeSchema, ms, "extend");
    this.#requireAlive("extend");
    return (await this.#owner.extend(ms)).at;
  }

  /**
   * Takes memory away that the VM was given at its claim, while it runs: by whole modules, as many as leave enough. Idempotent.
   *
   * @returns what it has then
   * @throws VmSubstrateError VM_GONE, VM_PARKED, INVALID_ARGUMENT, MEMORY_IN_USE when its guest needs it, QMP_*, TIMEOUT, ABORTED
   */
  async shrink(request: ShrinkRequest): Promise<Resources> {
    const onMemory = async (memoryMiB: number) => {
      if (memoryMiB === this.#resources.memoryMiB) return;
      await this.#owner.shrunk(memoryMiB);
      this.#resources = Object.freeze({ ...this.#resources, memoryMiB });
      this.#events.announce("shrunk");
    };
    await this.#inTurn("shrink", async () => {
      if (this.#state === "parked") throw parkedError(this, "shrink");
      await explained(this, "shrink", shrinking(this.#clone, request, onMemory));
    });
    return this.#resources;
  }

  /**
   * Makes `count` further VMs out of this one as it is now: memory, programs and disk of one instant, each with an identity of
   * its own, all or none. This one stands still for a moment, and goes on as who it was.
   *
   * @throws VmSubstrateError VM_GONE, VM_PARKED, INVALID_ARGUMENT, FORK_REFUSED, FORK_FAILED, and as `Pool.activate`
   */
  fork(count: number, options: ForkOptions = {}): Promise<Vm[]> {
    return this.#owner.fork(this, count, options);
  }

  /**
   * Makes a substrate of this VM as it is now, by way of a fork: that is generalized and frozen, and this one goes on.
   * @throws VmSubstrateError as `fork`, BUILD_FAILED, GUEST_*
   */
  freeze(options: FreezeOptions): Promise<Frozen> {
    return this.#owner.freeze(this, options);
  }

  /** Works with what the VM is made of while nobody parks it, then sees that it is who it was, if it `isKept`. @internal */
  whileRunning<T>(what: string, work: (clone: Clone) => Promise<T>, { isKept = true } = {}): Promise<T> {
    return this.#inTurn(what, async () => {
      if (this.#state === "parked") throw parkedError(this, what);
      return this.#sessions.without(what, () => this.#guarded(what, work, isKept));
    });
  }

  /** Works with what the VM is made of beside all that is done with it. @internal */
  async whileAlive<T>(what: string, work: (clone: Clone) => Promise<T>): Promise<T> {
    this.#requireAlive(what);
    return this.#clone.instance.process.guard(what, work(this.#clone));
  }

  async #guarded<T>(what: string, work: (clone: Clone) => Promise<T>, isKept: boolean): Promise<T> {
    try {
      const result = await this.#clone.instance.process.guard(what, work(this.#clone));
      if (isKept) await this.#power.mendClock();
      return result;
    } catch (error) {
      if (this.#isGone || isVmSubstrateError(error, "QEMU_EXITED")) throw goneError(this, what, error);
      if (isKept) await this.#power.mendClock().catch(() => {}); // it may have been paused
      throw error;
    }
  }

  /** Ends the VM and gives back all it held. Idempotent; resolves when nothing of it is left. */
  async release(): Promise<void> {
    if (this.#state === "detached") throw goneError(this, "release");
    const first = !this.#isGone;
    if (first) this.#state = "released";
    await this.#end();
    if (first) this.#events.announce("released");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state !== "detached") await this.release();
  }

  /** Leaves the VM to the next owner of its state directory; this handle of it is of no more use. @internal */
  async detach(): Promise<void> {
    await this.#last;
    if (this.#isGone) return;
    this.#state = "detached";
    await this.#sessions.leave(goneError(this, "session"));
    await this.#clone.detach();
  }

  /**
   * Asks the monitor and the guest agent for a sign of life, and says what came of it by `unresponsive` and `responsive`.
   * Never throws. A parked guest is only asked by its monitor. @internal
   */
  async heartbeat(timeoutMs: number): Promise<void> {
    if (this.#isGone) return;
    const asked = this.#state;
    try {
      const inTurn = (work: () => Promise<void>) => this.#inTurn("heartbeat", work);
      await this.#power.signOfLife(() => this.#state === "running", timeoutMs, inTurn);
      this.#responsiveness.seen();
    } catch (cause) {
      if (this.#isGone || isVmSubstrateError(cause, "QEMU_EXITED")) return;
      if (this.#state !== asked) return; // parked meanwhile: such a guest does not answer
      this.#responsiveness.missed(noSignOfLife(this, timeoutMs, cause));
    }
  }

  async #onExit(cause: ExitCause): Promise<void> {
    if (this.#isGone) return;
    this.#state = "failed";
    // Listeners hear of the end even when something of it could not be removed; the next opening clears that.
    await this.#end().catch(() => {});
    this.#events.announce("exit", cause);
  }

  #end(): Promise<void> {
    this.#gone ??= (async () => {
      this.#sessions.end(goneError(this, "session"));
      await endVm(this.#clone, this.#owner);
    })();
    return this.#gone;
  }

  async #inTurn<T>(what: string, work: () => Promise<T>): Promise<T> {
    this.#requireAlive(what);
    const working = this.#last.then(() => {
      this.#requireAlive(what);
      return work();
    });
    this.#last = working.catch(() => {});
    return working;
  }

  async #monitor(what: string, command: "stop" | "cont"): Promise<void> {
    await explained(this, what, this.#power.switch(what, command), () => true);
  }

  async #withAgent<T>(what: string, work: (agent: GuestAgent) => Promise<T>): Promise<T> {
    this.#requireAlive(what);
    if (this.#state === "parked") throw parkedError(this, what);
    const { guest, instance } = this.#clone;
    const working = async () => instance.process.guard(what, work(await guest.agent()));
    return explained(this, what, working());
  }

  get #isGone(): boolean {
    return isEnd(this.#state);
  }

  #requireAlive(what: string): void {
    if (this.#isGone) throw goneError(this, what);
  }
}
