import { setTimeout as delay } from "node:timers/promises";
import { VmSubstrateError, withDeadline } from "../core/index.ts";
import { HELPER_PROTOCOL_VERSION, type HelperChannel } from "../netcfg/index.ts";
import { type GuestAgent, readGuestFile } from "../qmp/index.ts";
import type { ReadyProbe } from "./recipe.ts";

const PORT_POLL_MS = 50;
const PROC_NET_MAX_BYTES = 256 * 1024;
/** TCP_LISTEN in the kernel's include/net/tcp_states.h, as /proc/net/tcp prints it. */
const LISTEN = "0A";

export interface GuestChannels {
  readonly agent: GuestAgent;
  readonly helper: HelperChannel;
}

/**
 * Waits until a booting guest passes every probe, in order, each within `timeoutMs`.
 * @throws VmSubstrateError of the probe that did not pass
 */
export async function awaitReady(
  probes: readonly ReadyProbe[],
  guest: GuestChannels,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal | undefined },
): Promise<void> {
  for (const probe of probes) {
    const name = probe.probe === "port" ? `port ${probe.port}` : probe.probe;
    await withDeadline({ what: `guest's ${name}`, ...options }, (signal) =>
      awaitProbe(probe, guest, { ...options, signal }),
    );
  }
}

async function awaitProbe(
  probe: ReadyProbe,
  guest: GuestChannels,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  switch (probe.probe) {
    // The port's back end holds our bytes until the guest opens the port: one request with a long deadline is enough.
    case "agent":
      await guest.agent.sync(options);
      break;
    case "helper": {
      const [version] = await guest.helper.request([{ name: "version", value: "" }], options);
      if (version === HELPER_PROTOCOL_VERSION) break;
      const message = `the guest's helper speaks protocol ${version}, expected ${HELPER_PROTOCOL_VERSION}`;
      throw new VmSubstrateError("GUEST_HELPER_FAILED", message);
    }
    case "port":
      while (!(await listensOn(guest.agent, probe.port, options))) {
        await delay(PORT_POLL_MS, undefined, { signal: options.signal });
      }
      break;
  }
}

async function listensOn(
  agent: GuestAgent,
  port: number,
  options: { timeoutMs: number; signal: AbortSignal },
): Promise<boolean> {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const text = Buffer.from(await readGuestFile(agent, table, { ...options, maxBytes: PROC_NET_MAX_BYTES })).toString(
      "latin1",
    );
    const rows = text.split("\n").map((line) => line.trim().split(/\s+/));
    if (rows.some(([, local, , state]) => local?.endsWith(suffix) && state === LISTEN)) return true;
  }
  return false;
}
