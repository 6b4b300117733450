import { z } from "zod";
import { bytes, count, instant, milliseconds, pageQuery, resourcesSchema, versionSchema } from "./common.ts";
import { problemSchema } from "./problem.ts";

export const VM_STATES = ["running", "parked", "unresponsive", "released", "failed"] as const;

export const vmSchema = z
  .object({
    id: z.string(),
    hostname: z.string(),
    address: z.string().describe("IPv4, dotted quad."),
    address6: z.string().nullable().describe("IPv6, where its network has one."),
    mac: z.string(),
    machineId: z.string().describe("32 hexadecimal digits, machine-id(5)."),
    sshHostKey: z.string().describe("The public host key, as in known_hosts."),
    substrate: versionSchema,
    resources: resourcesSchema,
    origin: z.enum(["docked", "cloned", "booted", "forked"]),
    state: z.enum(VM_STATES),
    labels: z.record(z.string(), z.string()),
    createdAt: instant,
    expiresAt: instant.nullable(),
    pid: z.int().describe("QEMU's process."),
    timings: z.object({ totalMs: milliseconds, phasesMs: z.record(z.string(), milliseconds) }),
  })
  .meta({ id: "Vm", description: "A personal VM that was handed out." });
export type VmView = Readonly<z.infer<typeof vmSchema>>;

const text = z.string();
const texts = z.array(text);

const fileSchema = z.strictObject({
  path: text.describe("Absolute, in the guest."),
  content: text.optional().describe("Text."),
  contentBase64: z.base64().optional().describe("Bytes, instead of `content`."),
  mode: z.int().optional().describe("Default 420, which is 0644 in octal."),
});

/** What `Pool.activate` takes, but for the idempotency key, which is a header, and bytes, which are base64. */
export const activateSpecSchema = z
  .strictObject({
    substrate: text,
    hostname: z.union([text, texts]).optional(),
    network: z
      .strictObject({
        fabric: text.optional(),
        subnet: text.optional(),
        subnet6: text.optional(),
        reserved: texts.optional(),
        addresses: texts.optional(),
        addresses6: texts.optional(),
        macs: texts.optional(),
      })
      .optional(),
    resources: z
      .strictObject({ cpus: z.int().optional(), memoryMiB: z.int().optional(), diskMiB: z.int().optional() })
      .optional(),
    authorizedKeys: texts.optional(),
    files: z.array(fileSchema).optional(),
    env: z.record(z.string(), text).optional(),
    run: z.strictObject({ argv: texts, timeoutMs: z.int().optional() }).optional(),
    labels: z.record(z.string(), text).optional(),
    ttlMs: z.int().optional(),
    maxLifetimeMs: z.int().optional(),
    onExpiry: z.enum(["release", "park"]).optional(),
    wait: z.boolean().optional().describe("Wait in line while memory or addresses are short."),
    channel: z.enum(["helper", "agent"]).optional(),
    timeoutMs: z.int().optional(),
  })
  .meta({ id: "ActivateSpec" });

/** Of a call, in its log lines and the event `failed`; the library says which are taken. */
const callId = text
  .optional()
  .describe("Names the call in the log and in the event `failed`. Default: the request's id.");

export const activateBodySchema = z.strictObject({
  count: z.int().min(1).default(1),
  callId,
  mode: z
    .enum(["atomic", "settled"])
    .default("atomic")
    .describe("`settled`: each VM for itself; `atomic`: all or none."),
  coldBoot: z.boolean().default(false).describe("Boot instead of cloning: the baseline to compare with."),
  spec: activateSpecSchema,
});
export type ActivateBody = z.input<typeof activateBodySchema>;

/** What a call made, in order: VMs, and with `settled` also why there is none. */
export const outcomesSchema = z
  .object({ outcomes: z.array(z.union([z.object({ vm: vmSchema }), z.object({ error: problemSchema })])) })
  .meta({ id: "Outcomes" });
export type Outcomes = z.infer<typeof outcomesSchema>;

export const vmsQuery = z.strictObject({
  ...pageQuery,
  labels: text.max(4096).optional().describe('A label selector: "match=17,tier!=free,region,!old,zone in (a, b)".'),
  state: z.enum(VM_STATES).optional(),
  substrate: text.optional(),
});

export const extendBodySchema = z.strictObject({ ms: z.int().describe("From now.") });

export const shrinkBodySchema = z.strictObject({
  memoryMiB: z.int().min(1).describe("So much stays at least: memory goes by whole modules."),
  timeoutMs: z.int().optional(),
});

export const execBodySchema = z.strictObject({
  argv: texts.describe("The program and its arguments; never a shell."),
  stdinBase64: z.base64().optional(),
  env: z.record(z.string(), text).optional(),
  timeoutMs: z.int().optional(),
});
export type ExecBody = z.input<typeof execBodySchema>;
export const execResultSchema = z
  .object({
    exitCode: z.int().nullable(),
    signal: z.int().nullable(),
    stdoutBase64: text,
    stderrBase64: text,
    truncated: z.boolean(),
  })
  .meta({ id: "ExecResult" });

export const readFileQuery = z.strictObject({
  path: text.min(1),
  maxBytes: z.coerce.number().int().min(0).optional(),
  timeoutMs: z.coerce.number().int().min(1).optional(),
});
export const writeFileQuery = z.strictObject({
  path: text.min(1),
  timeoutMs: z.coerce.number().int().min(1).optional(),
});

export const memorySchema = z
  .object({
    pssBytes: bytes.describe("Private pages and this process's share of shared ones."),
    privateBytes: bytes,
  })
  .meta({ id: "ProcessMemory", description: "Of QEMU's process, guest included." });

export const forkBodySchema = z.strictObject({
  count: z.int().min(1).default(1),
  callId,
  options: activateSpecSchema
    .pick({
      hostname: true,
      authorizedKeys: true,
      env: true,
      run: true,
      labels: true,
      ttlMs: true,
      wait: true,
      timeoutMs: true,
    })
    .default({}),
});
export type ForkBody = z.input<typeof forkBodySchema>;

export const consoleQuery = z.strictObject({ maxBytes: z.coerce.number().int().min(1).optional() });
export const consoleSchema = z.object({ text });

export const freezeBodySchema = z.strictObject({ name: text.describe("Of the substrate.") });
export const forkReportSchema = z.object({
  count,
  pauseMs: milliseconds,
  captureMs: milliseconds,
  copiedBytes: bytes,
});
