import { VmSubstrateError } from "../../core/index.ts";
import { type GuestAgent, guestExec } from "../../qmp/index.ts";

const LOG_LINES = 20;
const LOG_TIMEOUT_MS = 10_000;

interface Within {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/**
 * Whether systemd has started a unit.
 * @throws VmSubstrateError BUILD_FAILED when the unit has failed, which waiting does not mend
 */
export async function unitIsActive(agent: GuestAgent, unit: string, within: Within): Promise<boolean> {
  const state = await said(agent, ["systemctl", "is-active", "--", unit], within);
  if (state !== "failed") return state === "active";
  throw new VmSubstrateError("BUILD_FAILED", `unit ${unit} has failed`, { details: { unit } });
}

/**
 * Whether systemd has started all there is to start. Source: systemctl(1), is-system-running.
 * @throws VmSubstrateError BUILD_FAILED when a unit has failed, naming each
 */
export async function systemIsRunning(agent: GuestAgent, within: Within): Promise<boolean> {
  const state = await said(agent, ["systemctl", "is-system-running"], within);
  if (state !== "degraded") return state === "running";
  const failed = await said(agent, ["systemctl", "list-units", "--failed", "--plain", "--no-legend"], within);
  const units = failed.split("\n").map((line) => line.split(" ")[0] ?? "");
  throw new VmSubstrateError("BUILD_FAILED", `units have failed: ${units.join(", ")}`, { details: { units } });
}

/** The end of what a unit has logged. */
export async function unitLog(agent: GuestAgent, unit: string): Promise<string> {
  const argv = ["journalctl", "--no-pager", "-o", "cat", "-n", String(LOG_LINES), "-u", unit];
  return said(agent, argv, { timeoutMs: LOG_TIMEOUT_MS, signal: AbortSignal.timeout(LOG_TIMEOUT_MS) });
}

async function said(agent: GuestAgent, argv: readonly string[], within: Within): Promise<string> {
  const { stdout } = await guestExec(agent, argv, within);
  return Buffer.from(stdout).toString("utf8").trim();
}
