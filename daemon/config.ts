import { readFile, stat } from "node:fs/promises";
import { type Document, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from "yaml";
import { z } from "zod";
import { dockBodySchema } from "../api/index.ts";
import { messageOf, validate } from "../lib/core/index.ts";
import { defaultConfigFile } from "../lib/host/index.ts";
import { VmSubstrateError } from "../lib/index.ts";
import { LOG_LEVELS } from "./log.ts";

const DEFAULT_REQUESTS_PER_SECOND = 1000;
const MAX_CONFIG_BYTES = 1024 ** 2;

const pathSchema = z.string().min(1);

/** `host:port`, `[::1]:port`. */
const addressSchema = z
  .string()
  .regex(/^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):\d{1,5}$/, 'expected "host:port", as "127.0.0.1:7070"')
  .refine((text) => Number(text.split(":").at(-1)) <= 65_535, "a port is at most 65535");

/** Values of the pool's own options are validated by it. */
export const configSchema = z.strictObject({
  stateDir: pathSchema.optional(),
  cacheDir: pathSchema.optional(),
  runtimeDir: pathSchema.optional(),
  sharedMemoryDir: pathSchema.optional(),
  qemu: pathSchema.optional(),
  accelerator: z.enum(["auto", "kvm", "tcg"]).optional(),
  parallelStarts: z.int().min(1).optional(),
  forkServer: z.boolean().optional(),
  zygotes: z.boolean().optional(),
  memoryMiB: z.int().min(1).optional(),
  addressQuarantineMs: z.int().min(0).optional(),
  heartbeatMs: z.int().min(0).optional(),
  listen: z
    .strictObject({
      tcp: addressSchema.optional(),
      hosts: z.array(z.string().min(1).toLowerCase()).default([]),
      tokenFile: pathSchema.optional(),
      requestsPerSecond: z.int().min(1).default(DEFAULT_REQUESTS_PER_SECOND),
    })
    .prefault({}),
  log: z.strictObject({ level: z.enum(LOG_LEVELS).default("info"), file: pathSchema.optional() }).prefault({}),
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
  try {
    const { size } = await stat(from);
    if (size > MAX_CONFIG_BYTES) throw tooLong(from);
    return parseConfig(await readFile(from, "utf8"), from);
  } catch (error) {
    if (error instanceof VmSubstrateError) throw error;
    const isMissing = error instanceof Error && "code" in error && error.code === "ENOENT";
    if (isMissing && file === undefined) return parseConfig("", from);
    throw new VmSubstrateError("INVALID_ARGUMENT", `${from} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

/** @throws VmSubstrateError INVALID_ARGUMENT */
export function parseConfig(text: string, file: string): Config {
  if (Buffer.byteLength(text) > MAX_CONFIG_BYTES) throw tooLong(file);
  const lines = new LineCounter();
  const { document, value } = parsed(text, file, lines);
  const result = configSchema.safeParse(value ?? {});
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => {
    const [key] = issue.code === "unrecognized_keys" ? issue.keys : [];
    const at = lineOf(document, lines, key === undefined ? issue.path : [...issue.path, key]);
    const field = issue.path.join(".");
    return { line: at, path: field, message: field === "" ? issue.message : `${field}: ${issue.message}` };
  });
  const listed = problems.map(({ line, message }) => `${file}:${line}: ${message}`).join("; ");
  throw new VmSubstrateError("INVALID_ARGUMENT", listed, { details: { problems } });
}

/** No aliases: those of aliases would make a small text an endless one ("billion laughs"). */
function parsed(text: string, file: string, lineCounter: LineCounter) {
  try {
    const document = parseDocument(text, { prettyErrors: true, uniqueKeys: true, lineCounter });
    const [problem] = [...document.errors, ...document.warnings];
    if (problem !== undefined) throw problem;
    return { document, value: document.toJS({ maxAliasCount: 0 }) as unknown };
  } catch (cause) {
    throw new VmSubstrateError("INVALID_ARGUMENT", `${file}: ${messageOf(cause)}`, { cause });
  }
}

/** Of a field; where it is missing, of what it is missing from. */
function lineOf(document: Document, lines: LineCounter, path: readonly PropertyKey[]): number {
  for (let length = path.length; length > 0; length--) {
    const [name, within] = [path[length - 1], path.slice(0, length - 1)];
    const parent = within.length === 0 ? document.contents : document.getIn(within, true);
    const pair = isMap(parent)
      ? parent.items.find(({ key }) => isScalar(key) && String(key.value) === String(name))?.key
      : isSeq(parent)
        ? parent.items[Number(name)]
        : undefined;
    if (isNode(pair) && pair.range) return lines.linePos(pair.range[0]).line;
  }
  return 1;
}

function tooLong(file: string): VmSubstrateError {
  return new VmSubstrateError("INVALID_ARGUMENT", `${file} is longer than ${MAX_CONFIG_BYTES} bytes`);
}

/** As `validate`, for what a program gives. */
export function configOf(input: ConfigInput): Config {
  return validate(configSchema, input, "Daemon.start");
}
