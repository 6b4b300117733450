import { type GuestAgent, readGuestFile } from "../../qmp/index.ts";

const PROC_NET_MAX_BYTES = 256 * 1024;
/** TCP_LISTEN in the kernel's include/net/tcp_states.h, as /proc/net/tcp prints it. */
const LISTEN = "0A";

/** Whether a TCP socket of the guest listens on a port, of whichever address. Source: proc(5), /proc/net/tcp. */
export async function listensOn(
  agent: GuestAgent,
  port: number,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<boolean> {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const bytes = await readGuestFile(agent, table, { ...options, maxBytes: PROC_NET_MAX_BYTES });
    const rows = Buffer.from(bytes)
      .toString("latin1")
      .split("\n")
      .map((line) => line.trim().split(/\s+/));
    if (rows.some(([, local, , state]) => local?.endsWith(suffix) && state === LISTEN)) return true;
  }
  return false;
}
