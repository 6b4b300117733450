import { type GuestAgent, guestExec } from "../../qmp/index.ts";
import type { StepOptions } from "./step-options.ts";

const SERVICE = "systemd-journald.service";
const SOCKETS = ["systemd-journald.socket", "systemd-journald-dev-log.socket"];

/**
 * Ends a guest's journal, whose files are named by the machine-id that it started with. What is logged meanwhile is lost, and
 * does not start it again.
 */
export async function closeJournal(agent: GuestAgent, options: StepOptions): Promise<void> {
  await guestExec(agent, ["systemctl", "stop", ...SOCKETS, SERVICE], options).catch(() => {}); // no systemd, no journal
}

/** From here on the first message starts it, in each clone under the clone's own machine-id. */
export async function reopenJournal(agent: GuestAgent, options: StepOptions): Promise<void> {
  await guestExec(agent, ["systemctl", "start", ...SOCKETS], options).catch(() => {});
}
