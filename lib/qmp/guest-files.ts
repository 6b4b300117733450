import { VmSubstrateError } from "../core/index.ts";
import type { GuestAgent } from "./guest-agent.ts";
import { DEFAULT_MAX_FILE_BYTES, FILE_CHUNK_BYTES, FILE_CLOSE_TIMEOUT_MS } from "./limits.ts";

interface GuestFileOptions {
  /** Milliseconds for each step (open, one piece of FILE_CHUNK_BYTES, close). Default: that of an agent command. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ReadGuestFileOptions extends GuestFileOptions {
  /** A longer file is an error. Default DEFAULT_MAX_FILE_BYTES (1 MiB). */
  readonly maxBytes?: number | undefined;
}

export interface WriteGuestFileOptions extends GuestFileOptions {
  /** `w` replaces the content, `a` appends. Default `w`. */
  readonly mode?: "w" | "a" | undefined;
}

/**
 * Reads a whole file of the guest. Its content is the guest's word.
 *
 * @throws VmSubstrateError GUEST_COMMAND_FAILED (cannot be opened or read, or is longer than `maxBytes`), INVALID_ARGUMENT,
 *   GUEST_AGENT_TIMEOUT, GUEST_AGENT_CLOSED, GUEST_AGENT_PROTOCOL, ABORTED
 */
export async function readGuestFile(
  agent: GuestAgent,
  path: string,
  options: ReadGuestFileOptions = {},
): Promise<Uint8Array> {
  const maxBytes = options.maxBytes ?? DEFAULT_MAX_FILE_BYTES;
  return withHandle(agent, path, "r", options, async (handle) => {
    const pieces: Buffer[] = [];
    let bytes = 0;
    for (;;) {
      // One byte more than allowed tells a file that fits exactly from a longer one.
      const count = Math.min(FILE_CHUNK_BYTES, maxBytes - bytes + 1);
      const piece = await agent.execute("guest-file-read", { handle, count }, step(options));
      bytes += piece.count;
      if (bytes > maxBytes) throw tooLong(path, maxBytes);
      pieces.push(Buffer.from(piece["buf-b64"], "base64"));
      if (piece.eof) return Buffer.concat(pieces);
      if (piece.count === 0) throw noProgress("guest-file-read", path);
    }
  });
}

/**
 * Writes bytes to a file of the guest. Resolves when the guest has closed it; that does not mean it is on its disk.
 *
 * @throws VmSubstrateError GUEST_COMMAND_FAILED, INVALID_ARGUMENT, GUEST_AGENT_TIMEOUT, GUEST_AGENT_CLOSED,
 *   GUEST_AGENT_PROTOCOL, ABORTED. After any of the last four the file may be there in part.
 */
export async function writeGuestFile(
  agent: GuestAgent,
  path: string,
  bytes: string | Uint8Array,
  options: WriteGuestFileOptions = {},
): Promise<void> {
  const content =
    typeof bytes === "string" ? Buffer.from(bytes) : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  await withHandle(agent, path, options.mode ?? "w", options, async (handle) => {
    for (let at = 0; at < content.length; ) {
      const piece = content.subarray(at, at + FILE_CHUNK_BYTES);
      const request = { handle, "buf-b64": piece.toString("base64") };
      const { count } = await agent.execute("guest-file-write", request, step(options));
      if (count === 0) throw noProgress("guest-file-write", path);
      at += count;
    }
  });
}

/** Opens, works and closes. What `close` reports counts only if the work succeeded: a full disk may show up there. */
async function withHandle<T>(
  agent: GuestAgent,
  path: string,
  mode: "r" | "w" | "a",
  options: GuestFileOptions,
  work: (handle: number) => Promise<T>,
): Promise<T> {
  refuseBadPath(path);
  const handle = await agent.execute("guest-file-open", { path, mode }, step(options));
  let result: T;
  try {
    result = await work(handle);
  } catch (error) {
    // Without the caller's signal, which may be why we are here.
    await agent.execute("guest-file-close", { handle }, { timeoutMs: FILE_CLOSE_TIMEOUT_MS }).catch(() => {});
    throw error;
  }
  await agent.execute("guest-file-close", { handle }, step(options));
  return result;
}

function step(options: GuestFileOptions): GuestFileOptions {
  return { timeoutMs: options.timeoutMs, signal: options.signal };
}

function refuseBadPath(path: string): void {
  // C strings end at NUL: the guest would open another file than the one that was checked here.
  if (path === "" || path.includes("\0")) {
    throw new VmSubstrateError("INVALID_ARGUMENT", "a path in the guest must not be empty or contain NUL");
  }
}

function tooLong(path: string, maxBytes: number): VmSubstrateError {
  return new VmSubstrateError("GUEST_COMMAND_FAILED", `${path} in the guest is longer than maxBytes (${maxBytes})`, {
    details: { command: "guest-file-read", class: "FileTooLong", desc: `longer than ${maxBytes} bytes` },
  });
}

/** A guest that moves nothing and does not say that it is done would hold the loop forever. */
function noProgress(command: string, path: string): VmSubstrateError {
  return new VmSubstrateError(
    "GUEST_AGENT_PROTOCOL",
    `${command} of ${path}: the agent moved no bytes and reported no end`,
    {
      details: { command },
    },
  );
}
