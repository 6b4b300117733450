import { homedir } from "node:os";
import { join } from "node:path";
import { type Directories, Paths } from "./paths.ts";
import { checkPrivateDir } from "./private-dir.ts";

/** Where the daemon of a state directory is, and keeps what is its own. All absolute. */
export interface DaemonPlace {
  readonly stateDir: string;
  readonly cacheDir: string;
  readonly runtimeDir: string;
  readonly sharedMemoryDir: string;
  /** Its unix socket. */
  readonly socket: string;
  /** What a daemon writes that was started in the background. */
  readonly log: string;
  /** Who may use its TCP address. */
  readonly tokens: string;
}

/**
 * @throws VmSubstrateError UNSAFE_DIRECTORY when somebody else could have made the socket's folder, and so the socket
 */
export async function daemonPlace(directories: Directories = {}): Promise<DaemonPlace> {
  const paths = new Paths(directories);
  await checkPrivateDir(paths.runtimeDir);
  return {
    stateDir: paths.stateDir,
    cacheDir: paths.cacheDir,
    runtimeDir: paths.runtimeDir,
    sharedMemoryDir: paths.sharedMemoryRoot,
    socket: paths.daemonSocket,
    log: paths.daemonLog,
    tokens: paths.daemonTokens,
  };
}

/** Where a daemon's configuration is looked for when nobody says: $XDG_CONFIG_HOME/vm-substrate/config.yaml. */
export function defaultConfigFile(environment: NodeJS.ProcessEnv = process.env): string {
  const folder = environment.XDG_CONFIG_HOME || join(environment.HOME || homedir(), ".config");
  return join(folder, "vm-substrate", "config.yaml");
}
