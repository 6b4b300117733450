import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { Config } from "../daemon/index.ts";
import { defaultConfigFile } from "../lib/host/index.ts";
import { type Directories, VmSubstrateError } from "../lib/index.ts";
import type { Format } from "./output/records.ts";

/** Options that every command has. */
export interface GlobalOptions {
  readonly format: Format;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
  readonly color: boolean;
  readonly start: boolean;
  readonly stateDir?: string;
  readonly cacheDir?: string;
  readonly runtimeDir?: string;
  readonly sharedMemoryDir?: string;
  readonly config?: string;
  readonly url?: string;
  readonly tokenFile?: string;
}

const DIRECTORIES = {
  stateDir: "VM_SUBSTRATE_STATE_DIR",
  cacheDir: "VM_SUBSTRATE_CACHE_DIR",
  runtimeDir: "VM_SUBSTRATE_RUNTIME_DIR",
  sharedMemoryDir: "VM_SUBSTRATE_SHARED_MEMORY_DIR",
} as const;
const DIRECTORY_NAMES = Object.keys(DIRECTORIES) as (keyof typeof DIRECTORIES)[];

/** Which daemon, and how it is started: by options, else the environment, else the configuration. */
export interface Settings {
  /** Directories that were named by options or the environment. */
  readonly given: Directories;
  /** Those and the configuration's. */
  readonly directories: Directories;
  /** Undefined: the default one. */
  readonly configFile: string | undefined;
  readonly url: string | undefined;
  readonly token: string | undefined;
}

/** @throws VmSubstrateError INVALID_ARGUMENT */
export async function settingsOf(options: GlobalOptions, env: NodeJS.ProcessEnv): Promise<Settings> {
  const given = givenDirectories(options, env);
  const configFile = configFileOf(options, env);
  const url = options.url ?? (env.VM_SUBSTRATE_URL || undefined);
  if (url !== undefined) {
    return { given, directories: given, configFile, url, token: await tokenOf(options, env) };
  }
  const { stateDir, cacheDir, runtimeDir, sharedMemoryDir } = await readConfig(options, env);
  const directories = { ...defined({ stateDir, cacheDir, runtimeDir, sharedMemoryDir }), ...given };
  return { given, directories, configFile, url: undefined, token: undefined };
}

/** Undefined: the default one, which may be missing. */
export function configFileOf(options: GlobalOptions, env: NodeJS.ProcessEnv): string | undefined {
  return options.config ?? (env.VM_SUBSTRATE_CONFIG || undefined);
}

export function givenDirectories(options: GlobalOptions, env: NodeJS.ProcessEnv): Directories {
  return defined(Object.fromEntries(DIRECTORY_NAMES.map((name) => [name, options[name] ?? env[DIRECTORIES[name]]])));
}

/** What the configuration says; nothing where there is none. @throws VmSubstrateError INVALID_ARGUMENT */
export async function readConfig(options: GlobalOptions, env: NodeJS.ProcessEnv): Promise<Partial<Config>> {
  const file = configFileOf(options, env);
  if (file === undefined && !existsSync(defaultConfigFile(env))) return {};
  // The daemon is much to load, and most calls have no use for it.
  const { loadConfig } = await import("../daemon/index.ts");
  return loadConfig(file ?? defaultConfigFile(env));
}

/** Never from the command line, which everybody on this machine can read. */
async function tokenOf({ tokenFile }: GlobalOptions, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  if (tokenFile === undefined) return env.VM_SUBSTRATE_TOKEN || undefined;
  const text = await readFile(tokenFile, "utf8").catch((cause: unknown) => {
    throw new VmSubstrateError("INVALID_ARGUMENT", `--token-file ${tokenFile} cannot be read`, { cause });
  });
  const lines = text.split("\n").map((line) => line.trim());
  const tokens = lines.filter((line) => line !== "" && !line.startsWith("#"));
  const line = tokens.find((one) => one.startsWith("write ")) ?? tokens[0];
  if (line === undefined) {
    throw new VmSubstrateError(
      "INVALID_ARGUMENT",
      `--token-file ${tokenFile}: expected a token, or lines as in a daemon's token file`,
    );
  }
  return line.replace(/^(?:read|write) /, "");
}

/** Without what is undefined or empty. */
function defined(values: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).flatMap(([name, value]) => (value ? [[name, value]] : [])));
}
