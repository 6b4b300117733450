import { z } from "zod";
import { CHANNELS } from "../clone/index.ts";
import { type Logger, signalSchema } from "../core/index.ts";
import { ACCELERATORS } from "../host/index.ts";
import { FABRICS, HostnamePattern, isAddress, Subnet } from "../netcfg/index.ts";
import type { BuildOptions } from "./options.ts";

/** One call makes at most this many VMs. */
export const MAX_VMS_PER_ACTIVATION = 1024;
/** All of a subnet's addresses are searched for free ones; a /16 is more than one host can run. */
const DEFAULT_SUBNET = "10.77.0.0/16";
const DEFAULT_TIMEOUT_MS = 120_000;

export const nameSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,40}$/, "expected 1 to 41 lower-case letters, digits and hyphens");
const path = z
  .string()
  .min(1)
  .refine((text) => !text.includes("\0"), "expected a path without NUL");

function isLogger(given: unknown): boolean {
  const levels = ["debug", "info", "warn", "error"] as const;
  return (
    typeof given === "object" &&
    given !== null &&
    levels.every((level) => typeof Reflect.get(given, level) === "function")
  );
}

export const poolOptionsSchema = z.strictObject({
  stateDir: path.optional(),
  cacheDir: path.optional(),
  runtimeDir: path.optional(),
  sharedMemoryDir: path.optional(),
  qemu: path.optional(),
  accelerator: z.enum(["auto", ...ACCELERATORS]).default("auto"),
  parallelStarts: z.int().min(1).max(256).optional(),
  logger: z.custom<Logger>(isLogger, "expected an object with debug, info, warn and error").optional(),
});

export const buildOptionsSchema = z.strictObject({
  recipe: z.string(),
  name: nameSchema.optional(),
  signal: signalSchema.optional(),
  onProgress: z.custom<NonNullable<BuildOptions["onProgress"]>>((given) => typeof given === "function").optional(),
});

const parsed = <T>(parse: (text: string) => T) =>
  z.string().transform((text, context) => {
    try {
      return parse(text);
    } catch (error) {
      context.addIssue({ code: "custom", message: (error as Error).message });
      return z.NEVER;
    }
  });

const networkSchema = z.strictObject({
  fabric: z.enum(FABRICS).default("none"),
  subnet: parsed((text) => Subnet.parse(text))
    .refine((subnet) => subnet.isUsable, "no host can have an address in this network")
    .prefault(DEFAULT_SUBNET),
  addresses: z.array(z.string().refine(isAddress, "expected an IPv4 address")).optional(),
});

export const activateSpecSchema = z.strictObject({
  substrate: nameSchema,
  hostname: parsed((text) => HostnamePattern.parse(text)).optional(),
  network: networkSchema.prefault({}),
  channel: z.enum(CHANNELS).default("helper"),
  timeoutMs: z.int().min(1).max(3_600_000).default(DEFAULT_TIMEOUT_MS),
});

export const countSchema = z.int().min(1).max(MAX_VMS_PER_ACTIVATION);

const depth = z.int().min(0).max(MAX_VMS_PER_ACTIVATION);

export const dockOptionsSchema = z
  .strictObject({ min: depth, max: depth.optional(), primed: z.boolean().default(true) })
  .refine(({ min, max = min }) => max >= min, {
    error: ({ input }) => `max ${(input as { max: number }).max} is smaller than min ${(input as { min: number }).min}`,
  });

export const dockedOptionsSchema = z.strictObject({
  count: depth,
  timeoutMs: z.int().min(1).max(3_600_000).default(DEFAULT_TIMEOUT_MS),
  signal: signalSchema.optional(),
});

export const callOptionsSchema = z.strictObject({ signal: signalSchema.optional() });
