import { withDeadline } from "../core/index.ts";
import { verifyResumed } from "../netcfg/index.ts";
import { abandonCapture } from "../substrate/index.ts";
import type { VmParts } from "./vm-parts.ts";

/** For `stop` and `cont`, and for the clock of a resumed guest. */
const PAUSE_TIMEOUT_MS = 5000;

/** Pauses one VM's guest and lets it run, and mends what a pause does to it. */
export class GuestPower {
  readonly #parts: Pick<VmParts<unknown>, "clone" | "identity" | "target" | "instants">;

  constructor(parts: Pick<VmParts<unknown>, "clone" | "identity" | "target" | "instants">) {
    this.#parts = parts;
  }

  /** @param what for the error when QEMU ends meanwhile @throws VmSubstrateError QEMU_EXITED, QMP_*, TIMEOUT */
  async switch(what: string, command: "stop" | "cont"): Promise<void> {
    const { qmp, process } = this.#parts.clone.instance;
    await process.guard(what, qmp.execute(command, {}, { timeoutMs: PAUSE_TIMEOUT_MS }));
  }

  /**
   * A guest that was paused is behind by that time. Sets its clock, and checks that it is who it was.
   * @throws VmSubstrateError IDENTITY_UNVERIFIED, GUEST_HELPER_FAILED, QEMU_EXITED, TIMEOUT
   */
  async mendClock(): Promise<void> {
    const { clone, identity, target } = this.#parts;
    const working = verifyResumed(clone.guest.helper, identity, target, { timeoutMs: PAUSE_TIMEOUT_MS });
    await clone.instance.process.guard("resume", working);
  }

  /**
   * Also lets a guest go on that QEMU has stopped because the host's disk was full: what it has read or written is tried again.
   *
   * @param isRunning whether the guest is asked as well as its monitor
   * @param inTurn runs something while nobody pauses the guest
   * @throws VmSubstrateError VM_UNRESPONSIVE, QEMU_EXITED, QMP_*, GUEST_*, IDENTITY_UNVERIFIED
   */
  async signOfLife(
    isRunning: () => boolean,
    timeoutMs: number,
    inTurn: (work: () => Promise<void>) => Promise<void>,
  ): Promise<void> {
    const { instance, guest } = this.#parts.clone;
    const beating = withDeadline({ what: "heartbeat", timeoutMs, timeoutCode: "VM_UNRESPONSIVE" }, async (signal) => {
      const { status } = await instance.qmp.execute("query-status", {}, { signal });
      const goOn = async () => {
        if (signal.aborted || !isRunning()) return;
        await instance.qmp.execute("cont", {}, { signal });
        await this.mendClock();
      };
      if (status === "io-error" && isRunning()) await inTurn(goOn);
      if (isRunning()) await (await guest.agent()).execute("guest-ping", {}, { timeoutMs, signal });
    });
    await instance.process.guard("heartbeat", beating);
  }

  /** Makes the guest run, or not, whatever an earlier owner got to. @throws VmSubstrateError as the others */
  async settle(wanted: "running" | "parked", timeoutMs: number): Promise<void> {
    const { clone, instants } = this.#parts;
    // Named before a fork is begun: no other VM can have been left in the middle of one.
    const wasForked = instants !== undefined && (await abandonCapture(clone.instance, timeoutMs));
    const { qmp } = clone.instance;
    const { running } = await qmp.execute("query-status", {}, { timeoutMs });
    if (wanted === "parked") {
      if (running) await qmp.execute("stop", {}, { timeoutMs });
      return;
    }
    if (!running) await qmp.execute("cont", {}, { timeoutMs });
    if (!running || wasForked) await this.mendClock();
  }
}
