import { readFile } from "node:fs/promises";
import { parseDocument } from "yaml";
import { z } from "zod";
import { dockBodySchema } from "../api/index.ts";
import { validate } from "../lib/core/index.ts";
import { defaultConfigFile } from "../lib/host/index.ts";
import { VmSubstrateError } from "../lib/index.ts";
import { LOG_LEVELS } from "./log.ts";

const DEFAULT_REQUESTS_PER_SECOND = 1000;
const MAX_CONFIG_BYTES = 1024 ** 2;

const path = z.string().min(1);

/** `host:port`, `[::1]:port`. */
const addressSchema = z
  .string()
  .regex(/^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):\d{1,5}$/, 'expected "host:port", as "127.0.0.1:7070"')
  .refine((text) => Number(text.split(":").at(-1)) <= 65_535, "a port is at most 65535");

/** Values of the pool's own options are validated by it. */
export const configSchema = z.strictObject({
  stateDir: path.optional(),
  cacheDir: path.optional(),
  runtimeDir: path.optional(),
  sharedMemoryDir: path.optional(),
  qemu: path.optional(),
  accelerator: z.enum(["auto", "kvm", "tcg"]).optional(),
  parallelStarts: z.int().min(1).optional(),
  forkServer: z.boolean().optional(),
  memoryMiB: z.int().min(1).optional(),
  addressQuarantineMs: z.int().min(0).optional(),
  heartbeatMs: z.int().min(0).optional(),
  listen: z
    .strictObject({
      tcp: addressSchema.optional(),
      hosts: z.array(z.string().min(1).toLowerCase()).default([]),
      tokenFile: path.optional(),
      requestsPerSecond: z.int().min(1).default(DEFAULT_REQUESTS_PER_SECOND),
    })
    .prefault({}),
  log: z.strictObject({ level: z.enum(LOG_LEVELS).default("info"), file: path.optional() }).prefault({}),
  docks: z.record(z.string(), dockBodySchema).default({}),
});
export type Config = Readonly<z.output<typeof configSchema>>;
export type ConfigInput = z.input<typeof configSchema>;

/**
 * Reads a daemon's configuration, YAML. Without `file` the default one, which may be missing.
 * @throws VmSubstrateError INVALID_ARGUMENT naming file, line and field
 */
export async function loadConfig(file?: string): Promise<Config> {
  const from = file ?? defaultConfigFile();
  const text = await readFile(from, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" && file === undefined) return "";
    throw new VmSubstrateError("INVALID_ARGUMENT", `${from} cannot be read: ${error.message}`, { cause: error });
  });
  return parseConfig(text, from);
}

/** @throws VmSubstrateError INVALID_ARGUMENT */
export function parseConfig(text: string, file: string): Config {
  if (Buffer.byteLength(text) > MAX_CONFIG_BYTES) {
    throw new VmSubstrateError("INVALID_ARGUMENT", `${file} is longer than ${MAX_CONFIG_BYTES} bytes`);
  }
  const document = parseDocument(text, { prettyErrors: true, uniqueKeys: true });
  const [problem] = document.errors;
  if (problem !== undefined) throw new VmSubstrateError("INVALID_ARGUMENT", `${file}: ${problem.message}`);
  return validate(configSchema, document.toJS({ maxAliasCount: 0 }) ?? {}, file);
}

/** As `validate`, for what a program gives. */
export function configOf(input: ConfigInput): Config {
  return validate(configSchema, input, "Daemon.start");
}
