import { z } from "zod";
import { probeSchema } from "../../ready/index.ts";

export const MIN_MEMORY_MIB = 128;
export const MAX_MEMORY_MIB = 65_536;
export const MAX_CPUS = 64;
const MIN_DISK_MIB = 1024;
export const MAX_DISK_MIB = 1_048_576;
export const MAX_ITEMS = 256;
const MAX_TEXT_CHARS = 65_536;
const MAX_RUN_TIMEOUT_MS = 3_600_000;
const DEFAULT_RUN_TIMEOUT_MS = 600_000;

/** Debian policy, 5.6.1; what begins otherwise could be an option of apt's. */
const packageName = z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/, "expected the name of a Debian package");
const unitName = z.string().regex(/^[\w@:.\\-]+\.[a-z]+$/, 'expected a unit with its type, e.g. "nginx.service"');
/** A path that neither the helper's protocol nor a person could misread. */
const guestPath = z
  .string()
  .regex(/^(?:\/(?!\.\.?(?:\/|$))[\w.@+-]+)+$/, "expected an absolute path of plain characters");
export const guestPattern = z
  .string()
  .regex(/^(?:\/(?!\.\.?(?:\/|$))[\w.@+*-]+)+$/, "expected an absolute path; * may be in it");
const mode = z.union([
  z.int().min(0).max(0o7777),
  z
    .string()
    .regex(/^0?[0-7]{3,4}$/, 'expected octal digits, e.g. "0644"')
    .transform((digits) => Number.parseInt(digits, 8)),
]);
const text = z.string().max(MAX_TEXT_CHARS);
const command = z.union([text.min(1), z.array(text).min(1).max(MAX_ITEMS)]);

const fileSchema = z
  .strictObject({
    path: guestPath,
    content: text.optional(),
    /** A file beside the recipe. */
    source: z.string().min(1).optional(),
    mode: mode.default(0o644),
  })
  .refine(({ content, source }) => (content === undefined) !== (source === undefined), "give either content or source");

const runSchema = z.union([
  command,
  z.strictObject({ command, timeoutMs: z.int().min(1).max(MAX_RUN_TIMEOUT_MS).default(DEFAULT_RUN_TIMEOUT_MS) }),
]);

export const substrateName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,40}$/, "expected 1 to 41 lower-case letters, digits and hyphens");

/** What a recipe file says of a guest that is made of Debian's packages. Unknown keys are refused. */
export const debianDocumentSchema = z.strictObject({
  from: z.literal("debian"),
  /** The substrate's name. Default: the file's. */
  name: substrateName.optional(),
  memoryMiB: z.int().min(MIN_MEMORY_MIB).max(MAX_MEMORY_MIB).default(512),
  cpus: z.int().min(1).max(MAX_CPUS).default(1),
  diskMiB: z.int().min(MIN_DISK_MIB).max(MAX_DISK_MIB).default(2048),
  packages: z.array(packageName).max(MAX_ITEMS).default([]),
  files: z.array(fileSchema).max(MAX_ITEMS).default([]),
  /** Run in the guest, as root: a text by its shell, a list as it is. */
  run: z.array(runSchema).max(MAX_ITEMS).default([]),
  /** Enabled, and started when the guest boots. */
  units: z.array(unitName).max(MAX_ITEMS).default([]),
  kernelArguments: z
    .array(z.string().regex(/^[\x21-\x7e]+$/, "expected one argument without spaces"))
    .max(MAX_ITEMS)
    .default([]),
  /** Whether the guest's kernel can be traced (ftrace, kprobes, perf). Costs each substrate 10 MiB. */
  kernelTracing: z.boolean().default(false),
  /** What must be true before the guest is frozen, in order. */
  ready: z
    .array(probeSchema)
    .max(MAX_ITEMS)
    .default([{ probe: "system" }]),
  /** Files that generalizing would remove, and that are to stay. */
  keep: z.array(guestPattern).max(MAX_ITEMS).default([]),
});

export type DebianDocument = z.output<typeof debianDocumentSchema>;
