import { isVmSubstrateError, Turns, VmSubstrateError, withDeadlineAndUndo } from "../../core/index.ts";
import { isPortOpen, plugPort, type QemuInstance, unplugPort } from "../../host/index.ts";
import type { GuestAgent } from "../../qmp/index.ts";
import { Carrier } from "./carrier.ts";
import { MAX_SESSIONS } from "./frames.ts";
import { Session } from "./session.ts";
import { SessionLink, sessionFailed, tooMany } from "./session-link.ts";
import type { SessionRequest } from "./session-options.ts";

/** How often it is looked whether the guest still has the port open: nothing else tells that its program has ended. */
const WATCH_MS = 2000;

/**
 * The sessions of one VM. The first one plugs a port into the VM and starts a program in its guest that carries all of them;
 * with the last one both go away. Whatever changes that takes turns.
 */
export class Sessions {
  readonly #instance: QemuInstance;
  readonly #carrier: Carrier;
  readonly #turns = new Turns();
  /** Each with the link that it goes over: one that was lost may still be looked into when there is another. */
  readonly #running = new Map<Session, SessionLink>();
  /** Sessions that run, or are being opened. */
  #count = 0;
  #link: SessionLink | undefined;
  /** Whether there may be a port, of ours or of an earlier owner. */
  #mayHavePort: boolean;
  #gone: VmSubstrateError | undefined;
  readonly #ending = new AbortController();

  /** @param wasTakenOver there may be what an earlier owner left */
  constructor(instance: QemuInstance, wasTakenOver: boolean) {
    this.#instance = instance;
    this.#carrier = new Carrier(instance.paths.programs);
    this.#mayHavePort = wasTakenOver;
  }

  /** @throws VmSubstrateError as `Vm.session` */
  async open(agent: GuestAgent, request: SessionRequest): Promise<Session> {
    const { timeoutMs, signal } = request;
    const session = await withDeadlineAndUndo(
      { what: `session of ${request.program}`, timeoutMs, signal },
      (within) => this.#open(agent, request, AbortSignal.any([within, this.#ending.signal])),
      (late) => late[Symbol.asyncDispose](),
    );
    const onAbort = () => {
      const why = new VmSubstrateError("ABORTED", "session: aborted by the caller", { cause: signal?.reason });
      session.fail(why);
    };
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    const forget = () => signal?.removeEventListener("abort", onAbort);
    session.exited.then(forget, forget);
    return session;
  }

  /**
   * Does something that finds the VM's machine as it was frozen: while sessions have a port in it that is refused, and none is
   * opened meanwhile.
   *
   * @throws VmSubstrateError FORK_REFUSED, QMP_*
   */
  async without<T>(what: string, work: () => Promise<T>): Promise<T> {
    return this.#inTurn(new AbortController().signal, async () => {
      if (this.#count > 0) {
        const open = this.#count === 1 ? "an open session" : `${this.#count} open sessions`;
        const message = `${what}: the VM has ${open}; end them first`;
        throw new VmSubstrateError("FORK_REFUSED", message, { details: { sessions: this.#count } });
      }
      await this.#close();
      return work();
    });
  }

  /** Takes away what an earlier owner left. @throws VmSubstrateError QMP_* */
  async sweep(): Promise<void> {
    await this.without("sweep", async () => {});
  }

  /** The VM has ended, or is somebody else's from now on: so are its sessions, at once. */
  end(why: VmSubstrateError): void {
    this.#gone ??= why;
    this.#ending.abort(this.#gone);
    for (const session of this.#running.keys()) session.fail(why);
    this.#link?.destroy(why);
  }

  /** As `end`, of a VM that goes on: nothing of them is left in it, if its QEMU answers. */
  async leave(why: VmSubstrateError): Promise<void> {
    this.end(why);
    await this.#inTurn(new AbortController().signal, () => this.#close()).catch(() => {}); // the next owner looks again
  }

  async #open(agent: GuestAgent, request: SessionRequest, signal: AbortSignal): Promise<Session> {
    if (this.#count >= MAX_SESSIONS) throw tooMany();
    this.#count++;
    let session: Session | undefined;
    try {
      const link = await this.#inTurn(signal, () => this.#linkFor(agent, signal));
      signal.throwIfAborted(); // no event tells of what has happened
      const begun = new Session(link, request, () => this.#onEnd(begun));
      session = begun;
      this.#running.set(begun, link);
      const { promise: aborted, reject } = Promise.withResolvers<never>();
      const onAbort = () => reject(signal.reason);
      signal.addEventListener("abort", onAbort, { once: true });
      await Promise.race([begun.started, aborted]).finally(() => signal.removeEventListener("abort", onAbort));
      return begun;
    } catch (error) {
      if (session === undefined) await this.#left();
      else {
        session.fail(isVmSubstrateError(error) ? error : sessionFailed("given up on", error));
        await session[Symbol.asyncDispose]();
      }
      throw this.#gone ?? error;
    }
  }

  async #onEnd(session: Session): Promise<void> {
    this.#running.delete(session);
    await this.#left();
  }

  /** With the last session the port goes. */
  async #left(): Promise<void> {
    this.#count--;
    if (this.#count > 0 || this.#gone !== undefined) return;
    await this.#inTurn(new AbortController().signal, async () => {
      if (this.#count === 0) await this.#close();
    }).catch(() => {}); // the next one to need it looks again
  }

  async #linkFor(agent: GuestAgent, signal: AbortSignal): Promise<SessionLink> {
    if (this.#gone !== undefined) throw this.#gone;
    if (this.#link?.isOpen) return this.#link;
    await this.#close();
    const { qmp, paths } = this.#instance;
    this.#mayHavePort = true;
    try {
      await plugPort(qmp, paths.stream, signal);
      this.#link = await SessionLink.connect(paths.stream, signal);
      await this.#carrier.start(agent, signal);
    } catch (error) {
      await this.#close().catch(() => {});
      signal.throwIfAborted();
      if (!isVmSubstrateError(error, "QMP_COMMAND_FAILED")) throw error;
      throw sessionFailed(`no port could be plugged into the VM: ${error.message}`, error);
    }
    void this.#watch(this.#link);
    return this.#link;
  }

  /** @throws VmSubstrateError QMP_* */
  async #close(): Promise<void> {
    await this.#link?.[Symbol.asyncDispose]();
    this.#link = undefined;
    if (!this.#mayHavePort) return;
    const { qmp, paths } = this.#instance;
    await unplugPort(qmp, paths.stream);
    this.#mayHavePort = false;
  }

  /** Until the link's end, which is that of its sessions. */
  async #watch(link: SessionLink): Promise<void> {
    const timer = setInterval(() => {
      void isPortOpen(this.#instance.qmp).then(
        (isOpen) => isOpen === true || link.destroy(sessionFailed("its program in the guest has ended")),
        () => {}, // a monitor that does not answer says nothing about the guest
      );
    }, WATCH_MS);
    timer.unref();
    const why = await link.ended;
    clearInterval(timer);
    // The channel ends with QEMU: whoever owns the VM then says so.
    const ended = await this.#instance.process.guard("session", Promise.reject(why)).catch((error: unknown) => error);
    if (isVmSubstrateError(ended, "QEMU_EXITED")) return;
    for (const [session, itsLink] of this.#running) if (itsLink === link) session.fail(why);
  }

  async #inTurn<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const endTurn = await this.#turns.take(signal);
    try {
      return await work();
    } finally {
      endTurn();
    }
  }
}
