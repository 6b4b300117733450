import type { Monitor } from "./monitor.ts";
import { CONSOLE_ID, CONSOLE_RING_BYTES } from "./qemu-argv.ts";

/**
 * Takes from QEMU what the guest's console has said since it was read last, as far as it was not overwritten. QEMU gives the
 * oldest bytes first and forgets what it gives, so all are taken. Source: QEMU's chardev/char-ringbuf.c.
 *
 * @throws VmSubstrateError QMP_*, TIMEOUT
 */
export async function takeConsole(qmp: Monitor, within: { readonly timeoutMs: number }): Promise<Buffer> {
  // As base64: what is no UTF-8, or is NUL, would end or break the other form.
  const request = { device: CONSOLE_ID, size: CONSOLE_RING_BYTES, format: "base64" };
  return Buffer.from(await qmp.execute<string>("ringbuf-read", request, within), "base64");
}
