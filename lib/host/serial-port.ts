import { chmod, rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { isVmSubstrateError } from "../core/index.ts";
import type { Monitor } from "./monitor.ts";
import { FREE_PORT, SERIAL_BUS } from "./qemu-argv.ts";

type Qmp = Pick<Monitor, "execute">;

/** By this name a program in the guest finds the port. */
export const SESSION_PORT = "org.vm-substrate.session.0";
/** Of the port and of the socket behind it. Fixed, so that a later owner finds what an earlier one has left. */
const PORT_ID = "session0";
/** For each step of taking the port away. */
const UNPLUG_TIMEOUT_MS = 5000;
const UNPLUG_POLL_MS = 5;

/**
 * Plugs a virtio-serial port into a running VM; what the guest writes to it comes out of a socket at `path`. Whatever became
 * of it, `unplugPort` is its undo.
 *
 * @throws VmSubstrateError QMP_*, ABORTED
 */
export async function plugPort(qmp: Qmp, path: string, signal: AbortSignal): Promise<void> {
  const addr = { type: "unix", data: { path } };
  const backend = { type: "socket", data: { addr, server: true, wait: false } };
  await qmp.execute("chardev-add", { id: PORT_ID, backend }, { signal });
  await chmod(path, 0o600);
  const port = { driver: "virtserialport", bus: SERIAL_BUS, nr: FREE_PORT, name: SESSION_PORT };
  await qmp.execute("device_add", { ...port, id: PORT_ID, chardev: PORT_ID }, { signal });
}

/**
 * Takes the port away, if there is one, and resolves when it is gone. Needs no help of the guest.
 * @throws VmSubstrateError QMP_*
 */
export async function unplugPort(qmp: Qmp, path: string): Promise<void> {
  const options = { timeoutMs: UNPLUG_TIMEOUT_MS };
  const backEnds = await qmp.execute("query-chardev", {}, options);
  if (backEnds.some(({ label }) => label === PORT_ID)) {
    await qmp.execute("device_del", { id: PORT_ID }, options).catch((error: unknown) => {
      if (!isVmSubstrateError(error, "QMP_COMMAND_FAILED") || error.details.class !== "DeviceNotFound") throw error;
    });
    await removeBackEnd(qmp);
  }
  await rm(path, { force: true }); // of a QEMU that could not
}

/** Whether the guest has the port open; undefined when there is none. @throws VmSubstrateError QMP_* */
export async function isPortOpen(qmp: Qmp): Promise<boolean | undefined> {
  const backEnds = await qmp.execute("query-chardev", {}, { timeoutMs: UNPLUG_TIMEOUT_MS });
  return backEnds.find(({ label }) => label === PORT_ID)?.["frontend-open"];
}

/** QEMU refuses it as busy for as long as there is a port on it. */
async function removeBackEnd(qmp: Qmp): Promise<void> {
  const until = performance.now() + UNPLUG_TIMEOUT_MS;
  for (;;) {
    try {
      await qmp.execute("chardev-remove", { id: PORT_ID }, { timeoutMs: UNPLUG_TIMEOUT_MS });
      return;
    } catch (error) {
      if (!isVmSubstrateError(error, "QMP_COMMAND_FAILED") || performance.now() > until) throw error;
      await sleep(UNPLUG_POLL_MS);
    }
  }
}
