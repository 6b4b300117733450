import { isVmSubstrateError } from "../../core/index.ts";
import { type GuestAgent, readGuestFile } from "../../qmp/index.ts";

const LOG_MAX_BYTES = 4 * 1024 * 1024;

/** Whether a file of the guest contains a text. One that is not there yet does not. */
export async function fileContains(
  agent: GuestAgent,
  file: string,
  text: string,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<boolean> {
  try {
    const bytes = await readGuestFile(agent, file, { ...options, maxBytes: LOG_MAX_BYTES });
    return Buffer.from(bytes).includes(text);
  } catch (error) {
    if (isVmSubstrateError(error, "GUEST_COMMAND_FAILED")) return false;
    throw error;
  }
}
