import { z } from "zod";
import { bytes, count, instant } from "./common.ts";

export const daemonSchema = z
  .object({
    version: z.string().describe("Of vm-substrate."),
    api: z.literal("v1"),
    pid: z.int(),
    startedAt: instant,
    directories: z.object({
      stateDir: z.string(),
      cacheDir: z.string(),
      runtimeDir: z.string(),
      sharedMemoryDir: z.string(),
    }),
    url: z.string().nullable().describe("Where it listens over TCP; null when it does not."),
    scope: z.enum(["read", "write"]).describe("What whoever asks may do."),
  })
  .meta({ id: "Daemon" });
export type DaemonView = z.infer<typeof daemonSchema>;

export const memoryUseSchema = z
  .object({ clones: count, bytes, perVmBytes: bytes, budgetBytes: bytes.nullable() })
  .meta({ id: "MemoryUse", description: "What all clones take, Pss, docked ones included." });
export type MemoryUseView = Readonly<z.infer<typeof memoryUseSchema>>;

export const gcBodySchema = z
  .strictObject({
    cacheUnusedForMs: z.int().min(0).optional().describe("What no build has needed for so long is removed; 30 days."),
    cacheMaxMiB: z
      .int()
      .min(0)
      .optional()
      .describe("Of the rest, the longest unused is removed until no more than that is left."),
  })
  .optional();

export const gcReportSchema = z
  .object({
    processes: z.array(z.string()),
    folders: z.array(z.string()),
    sharedMemory: z.array(z.string()),
    records: z.array(z.string()),
    leases: z.array(z.string()),
    cache: z.object({
      removed: z.array(z.string()).describe("Names below the cache."),
      freedBytes: bytes,
      leftBytes: bytes,
      busy: z.boolean().describe("Another process builds, so that nothing was removed."),
    }),
  })
  .meta({ id: "GcReport", description: "What was nobody's and was taken away." });

export type GcReportView = z.infer<typeof gcReportSchema>;

export const doctorSchema = z.array(
  z.object({
    name: z.string(),
    status: z.enum(["ok", "warn", "fail"]),
    found: z.string(),
    hint: z.string().optional(),
  }),
);

export const readySchema = z.object({ ready: z.boolean(), docks: z.array(z.string()).optional() });
