import { setTimeout as delay } from "node:timers/promises";
import { type ErrorCode, isVmSubstrateError, messageOf, VmSubstrateError, withDeadline } from "../../core/index.ts";
import { HELPER_PROTOCOL_VERSION } from "../../netcfg/index.ts";
import { guestExec } from "../../qmp/index.ts";
import type { GuestChannels } from "./channels.ts";
import { fileContains } from "./log.ts";
import { listensOn } from "./port.ts";
import { probeName, type ReadyProbe, type SimpleReadyProbe } from "./probe.ts";
import { systemIsRunning, unitIsActive, unitLog } from "./systemd.ts";

/** Between two questions to the guest: each costs it a process, some 50 ms under TCG. */
const POLL_MS = 100;

const NO_AGENT =
  "; if the guest did boot, qemu-guest-agent must be installed and enabled in it, and served by the port org.qemu.guest_agent.0";

interface Within {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/**
 * Waits until a booting guest passes every probe, in order, each within its own deadline or else `timeoutMs`.
 * @throws VmSubstrateError BUILD_FAILED of a probe that can never pass, with the end of its log; of the probe that did not pass
 */
export async function awaitReady(
  probes: readonly ReadyProbe[],
  guest: GuestChannels,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal | undefined },
): Promise<void> {
  for (const probe of probes) await awaitOne(probe, guest, options);
}

async function awaitOne(
  probe: ReadyProbe,
  guest: GuestChannels,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal | undefined },
): Promise<void> {
  const within = { timeoutMs: probe.timeoutMs ?? options.timeoutMs, signal: options.signal };
  try {
    await withDeadline({ what: `guest's ${probeName(probe)}`, ...within }, (signal) =>
      pass(probe, guest, { ...within, signal }),
    );
  } catch (error) {
    if (options.signal?.aborted) throw error;
    if (probe.probe === "agent")
      throw new VmSubstrateError(codeOf(error), `${messageOf(error)}${NO_AGENT}`, { cause: error });
    if (probe.probe !== "unit") throw error;
    const tail = await unitLog(guest.agent, probe.unit).catch(() => "");
    const message = `${messageOf(error)}; its log ends with: ${JSON.stringify(tail)}`;
    throw new VmSubstrateError("BUILD_FAILED", message, { cause: error, details: { unit: probe.unit } });
  }
}

async function pass(probe: ReadyProbe, guest: GuestChannels, within: Within): Promise<void> {
  switch (probe.probe) {
    // The port's back end holds our bytes until the guest opens the port: one request with a long deadline is enough.
    case "agent":
      return guest.agent.sync(within);
    case "helper":
      return requireHelper(guest, within);
    case "all":
      return awaitReady(probe.of, guest, within);
    case "any":
      return awaitAny(probe.of, guest, within);
    default:
      while (!(await holds(probe, guest, within))) await delay(POLL_MS, undefined, { signal: within.signal });
  }
}

/** The first that passes ends the others; when none does, the last one's error tells why. */
async function awaitAny(probes: readonly ReadyProbe[], guest: GuestChannels, within: Within): Promise<void> {
  const others = new AbortController();
  const signal = AbortSignal.any([within.signal, others.signal]);
  try {
    await Promise.any(probes.map((probe) => awaitOne(probe, guest, { ...within, signal })));
  } catch (error) {
    throw error instanceof AggregateError ? error.errors.at(-1) : error;
  } finally {
    others.abort();
  }
}

async function requireHelper({ helper }: GuestChannels, within: Within): Promise<void> {
  const [version] = await helper.request([{ name: "version", value: "" }], within);
  if (version === HELPER_PROTOCOL_VERSION) return;
  const message = `the guest's helper speaks protocol ${version}, expected ${HELPER_PROTOCOL_VERSION}`;
  throw new VmSubstrateError("GUEST_HELPER_FAILED", message);
}

type PolledProbe = Exclude<SimpleReadyProbe, { readonly probe: "agent" | "helper" }>;

/** Whether a probe passes now. */
async function holds(probe: PolledProbe, { agent, helper }: GuestChannels, within: Within): Promise<boolean> {
  switch (probe.probe) {
    case "port":
      return listensOn(agent, probe.port, within);
    case "unit":
      return unitIsActive(agent, probe.unit, within);
    case "system":
      return systemIsRunning(agent, within);
    case "log":
      return fileContains(agent, probe.file, probe.contains, within);
    case "command": {
      const { exitCode } = await guestExec(agent, probe.argv, within);
      return exitCode === 0;
    }
    case "http": {
      // What refuses the connection does not serve yet.
      const asked = helper.request([{ name: "http", value: `${probe.port},${probe.path}` }], within);
      const [status] = await asked.catch((error: unknown) => {
        if (isVmSubstrateError(error, "GUEST_HELPER_FAILED")) return [];
        throw error;
      });
      return status === String(probe.status);
    }
  }
}

function codeOf(error: unknown): ErrorCode {
  return isVmSubstrateError(error) ? error.code : "GUEST_AGENT_TIMEOUT";
}
