import { z } from "zod";
import { validate } from "../lib/core/index.ts";
import { daemonPlace } from "../lib/host/index.ts";
import type { Directories } from "../lib/index.ts";
import { RemotePool } from "./remote-pool.ts";

/** Which daemon: that of a state directory, by its socket, or one at an address. */
export interface ConnectOptions extends Directories {
  /** "http://127.0.0.1:7070". Default: the socket of the state directory's daemon. */
  readonly url?: string | undefined;
  /** For `url`: a token of the daemon's token file. */
  readonly token?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

const path = z.string().min(1).optional();
const optionsSchema = z
  .strictObject({
    stateDir: path,
    cacheDir: path,
    runtimeDir: path,
    sharedMemoryDir: path,
    url: z.url({ protocol: /^http$/ }).optional(),
    token: z.string().min(1).optional(),
    signal: z.instanceof(AbortSignal).optional(),
  })
  .refine(({ url, token }) => token === undefined || url !== undefined, "a token is for a url; a socket needs none");

/**
 * Connects to a running daemon. What comes back has the shape of `Pool`, so that a program changes one line.
 *
 * ```ts
 * await using pool = await connect();
 * const [vm] = await pool.activate(1, { substrate: "mini" });
 * ```
 *
 * @throws VmSubstrateError INVALID_ARGUMENT, DAEMON_UNREACHABLE, UNSAFE_DIRECTORY, UNAUTHENTICATED, FORBIDDEN, ABORTED
 */
export async function connect(options: ConnectOptions = {}): Promise<RemotePool> {
  const { url, token, signal, ...directories } = validate(optionsSchema, options, "connect");
  if (url !== undefined) return RemotePool.connect({ origin: new URL(url).origin, token }, signal);
  const { socket } = await daemonPlace(directories);
  return RemotePool.connect({ origin: "http://localhost", socket }, signal);
}
