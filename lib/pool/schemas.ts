import { z } from "zod";
import { argvSchema, CHANNELS, lifetimeSchema } from "../clone/index.ts";
import { type Logger, MIB, signalSchema } from "../core/index.ts";
import { ACCELERATORS } from "../host/index.ts";
import {
  FABRICS,
  HostnamePattern,
  isAddress,
  isAddress6,
  isUnicastMac,
  Network,
  requireAuthorizedKeys,
  requireGuestFile,
  requireHostname,
} from "../netcfg/index.ts";
import { parseReference } from "../substrate/index.ts";
import { ON_EXPIRY } from "./lifetime.ts";
import type { BuildOptions } from "./options.ts";

/** One call makes at most this many VMs. */
export const MAX_VMS_PER_ACTIVATION = 1024;
/** All of a subnet's addresses are searched for free ones; a /16 is more than one host can run. */
const DEFAULT_SUBNET = "10.77.0.0/16";
const DEFAULT_TIMEOUT_MS = 120_000;
const DEFAULT_RUN_TIMEOUT_MS = 60_000;
const DEFAULT_QUARANTINE_MS = 30_000;
const DEFAULT_HEARTBEAT_MS = 10_000;
const MAX_TIMEOUT_MS = 3_600_000;
const MAX_FILES = 256;
/** Of all files of one call; each goes to each of its VMs. */
const MAX_FILES_BYTES = 16 * MIB;
const MAX_LABELS = 64;
const MAX_ENV_VARIABLES = 256;

export const nameSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,40}$/, "expected 1 to 41 lower-case letters, digits and hyphens");
export const pathSchema = z
  .string()
  .min(1)
  .refine((text) => !text.includes("\0"), "expected a path without NUL");
const amount = z.int().min(1);
const timeoutMs = z.int().min(1).max(MAX_TIMEOUT_MS);

function isLogger(given: unknown): boolean {
  const levels = ["debug", "info", "warn", "error"] as const;
  return (
    typeof given === "object" &&
    given !== null &&
    levels.every((level) => typeof Reflect.get(given, level) === "function")
  );
}

export const poolOptionsSchema = z.strictObject({
  stateDir: pathSchema.optional(),
  cacheDir: pathSchema.optional(),
  runtimeDir: pathSchema.optional(),
  sharedMemoryDir: pathSchema.optional(),
  qemu: pathSchema.optional(),
  accelerator: z.enum(["auto", ...ACCELERATORS]).default("auto"),
  parallelStarts: z.int().min(1).max(256).optional(),
  forkServer: z.boolean().default(true),
  zygotes: z.boolean().default(true),
  memoryMiB: z.int().min(1).optional(),
  addressQuarantineMs: z.int().min(0).max(MAX_TIMEOUT_MS).default(DEFAULT_QUARANTINE_MS),
  heartbeatMs: z.int().min(0).max(MAX_TIMEOUT_MS).default(DEFAULT_HEARTBEAT_MS),
  docks: z.enum(["forget", "restore"]).default("forget"),
  logger: z.custom<Logger>(isLogger, "expected an object with debug, info, warn and error").optional(),
});

export const buildOptionsSchema = z
  .strictObject({
    recipe: z.string().optional(),
    recipeFile: pathSchema.optional(),
    name: nameSchema.optional(),
    signal: signalSchema.optional(),
    onProgress: z.custom<NonNullable<BuildOptions["onProgress"]>>((given) => typeof given === "function").optional(),
  })
  .refine(
    ({ recipe, recipeFile }) => (recipe === undefined) !== (recipeFile === undefined),
    "give either recipe or recipeFile",
  );

/** A text that is parsed by a function which throws for what it does not like. */
const parsed = <Output, Input = string>(schema: z.ZodType<Input>, parse: (input: Input) => Output) =>
  schema.transform((input, context) => {
    try {
      return parse(input);
    } catch (error) {
      context.addIssue({ code: "custom", message: (error as Error).message });
      return z.NEVER;
    }
  });

const pattern = parsed(z.string(), (text) => HostnamePattern.parse(text));
const hostnames = parsed(
  z.union([z.string(), z.array(z.string()).min(1)], "expected a name, a pattern with {index}, or a list of names"),
  (given) => {
    if (typeof given === "string") return HostnamePattern.parse(given);
    for (const name of given) requireHostname(name);
    return given;
  },
);
const networkFields = {
  subnet: z.string().default(DEFAULT_SUBNET),
  subnet6: z.string().optional(),
  reserved: z.array(z.string()).optional(),
};

/** Each network is parsed once, at the edge. */
const dockNetworkSchema = parsed(z.strictObject(networkFields).prefault({}), (spec) => Network.parse(spec));

const networkSchema = z
  .strictObject({
    ...networkFields,
    fabric: z.enum(FABRICS).default("none"),
    addresses: z.array(z.string().refine(isAddress, "expected an IPv4 address")).optional(),
    addresses6: z.array(z.string().refine(isAddress6, "expected an IPv6 address")).optional(),
    macs: z.array(z.string().refine(isUnicastMac, 'expected a unicast MAC address, "02:00:00:00:00:01"')).optional(),
  })
  .transform(({ fabric, addresses, addresses6, macs, ...spec }, context) => {
    try {
      return { network: Network.parse(spec), fabric, addresses, addresses6, macs };
    } catch (error) {
      context.addIssue({ code: "custom", message: (error as Error).message });
      return z.NEVER;
    }
  });

const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;
/** One line without quotes: /etc/environment has no way to escape them. */
const ENV_VALUE = /^[^\p{Cc}"]{0,4096}$/u;

const fileSchema = parsed(
  z.strictObject({
    path: z.string(),
    content: z.union([z.string(), z.instanceof(Uint8Array)]),
    mode: z.int().default(0o644),
  }),
  (file) => {
    requireGuestFile(file);
    return file;
  },
);

const filesSchema = z
  .array(fileSchema)
  .max(MAX_FILES)
  .refine((files) => files.reduce((sum, { content }) => sum + Buffer.byteLength(content), 0) <= MAX_FILES_BYTES, {
    error: `the files are more than ${MAX_FILES_BYTES} bytes together`,
  });

const sized = <T extends z.ZodType<Record<string, string>>>(schema: T, most: number) =>
  schema.refine((record) => Object.keys(record).length <= most, { error: `at most ${most} entries` });

export const referenceSchema = parsed(z.string(), parseReference);

export const activateSpecSchema = z.strictObject({
  substrate: referenceSchema,
  hostname: hostnames.optional(),
  network: networkSchema.prefault({}),
  authorizedKeys: parsed(z.array(z.string()), (keys) => {
    requireAuthorizedKeys(keys);
    return keys;
  }).default([]),
  files: filesSchema.default([]),
  env: sized(z.record(z.string().regex(ENV_NAME), z.string().regex(ENV_VALUE)), MAX_ENV_VARIABLES).default({}),
  run: z.strictObject({ argv: argvSchema, timeoutMs: timeoutMs.default(DEFAULT_RUN_TIMEOUT_MS) }).optional(),
  resources: z
    .strictObject({ cpus: amount.optional(), memoryMiB: amount.optional(), diskMiB: amount.optional() })
    .default({}),
  labels: sized(
    z.record(
      z.string().regex(/^[a-z0-9A-Z]([a-z0-9A-Z._/-]{0,126}[a-z0-9A-Z])?$/, "expected letters, digits and inner ._/-"),
      z.string().max(256),
    ),
    MAX_LABELS,
  ).default({}),
  ttlMs: lifetimeSchema.optional(),
  maxLifetimeMs: lifetimeSchema.optional(),
  onExpiry: z.enum(ON_EXPIRY).default("release"),
  wait: z.boolean().default(false),
  idempotencyKey: z
    .string()
    .regex(/^[\x21-\x7e]{1,200}$/, "expected 1 to 200 printable characters without spaces")
    .optional(),
  channel: z.enum(CHANNELS).default("helper"),
  timeoutMs: timeoutMs.default(DEFAULT_TIMEOUT_MS),
});

export const countSchema = z.int().min(1).max(MAX_VMS_PER_ACTIVATION);

const depth = z.int().min(0).max(MAX_VMS_PER_ACTIVATION);

export const dockOptionsSchema = z
  .strictObject({
    min: depth.default(0),
    max: depth.optional(),
    maxMiB: z.int().min(1).optional(),
    primed: z.boolean().default(true),
    hostname: pattern.refine(({ isIndexed }) => isIndexed, "expected a pattern with {index}").optional(),
    network: dockNetworkSchema.prefault({}),
  })
  .refine(({ min, max = min }) => max >= min, {
    error: ({ input }) => `max ${(input as { max: number }).max} is smaller than min ${(input as { min: number }).min}`,
  });

export const dockedOptionsSchema = z.strictObject({
  count: depth,
  timeoutMs: timeoutMs.default(DEFAULT_TIMEOUT_MS),
  signal: signalSchema.optional(),
});

export const callOptionsSchema = z.strictObject({ signal: signalSchema.optional() });

const callIdSchema = z.string().regex(/^[\x21-\x7e]{1,64}$/, "expected 1 to 64 printable characters without spaces");

export const activateOptionsSchema = callOptionsSchema.extend({ callId: callIdSchema.optional() });

export const closeOptionsSchema = z.strictObject({ vms: z.enum(["release", "keep"]).default("release") });
