import { z } from "zod";
import { count, instant, versionSchema } from "./common.ts";
import { dockSchema } from "./dock.ts";
import { operationSchema } from "./operation.ts";
import { problemSchema } from "./problem.ts";
import { secondSchema } from "./stats.ts";
import { substrateSchema } from "./substrate.ts";
import { memoryUseSchema } from "./system.ts";
import { forkReportSchema, vmSchema } from "./vm.ts";

const ofVm = { vm: vmSchema };
const ofCall = { substrate: z.string(), count };

/** What the event stream carries, by type. Each has the time; those of VMs have the VM as it is from then on. */
const payloads = {
  activated: z.object(ofVm),
  released: z.object(ofVm),
  exit: z.object({ ...ofVm, code: z.int().nullable(), signal: z.string().nullable() }),
  parked: z.object(ofVm),
  resumed: z.object(ofVm),
  shrunk: z.object(ofVm),
  extended: z.object(ofVm),
  unresponsive: z.object({ ...ofVm, error: problemSchema }),
  responsive: z.object(ofVm),
  forked: z.object({ ...ofVm, report: forkReportSchema }),
  waiting: z.object({ ...ofCall, position: count }),
  failed: z.object({
    ...ofCall,
    callId: z.string(),
    what: z.enum(["activate", "coldBoot", "fork"]),
    error: problemSchema,
  }),
  dock: z.object({ dock: dockSchema }),
  undocked: z.object({ dock: dockSchema.pick({ substrate: true, version: true, pinned: true }) }),
  built: z.object({ substrate: substrateSchema }),
  removed: z.object({ substrate: versionSchema }),
  operation: z.object({ operation: operationSchema }),
} as const;

export const EVENT_TYPES = Object.keys(payloads) as readonly EventType[];
export type EventType = keyof typeof payloads;
export type EventPayload<Type extends EventType> = z.infer<(typeof payloads)[Type]>;

/** One event, as it is kept and sent. `id` is what `Last-Event-ID` takes. */
export type DaemonEvent = {
  readonly [Type in EventType]: { readonly id: string; readonly type: Type; readonly at: string } & {
    readonly data: EventPayload<Type>;
  };
}[EventType];

/** The first message of a stream: all that the later ones change. Also when what was missed is no longer kept. */
const snapshotSchema = z
  .object({
    vms: z.array(vmSchema),
    docks: z.array(dockSchema),
    memory: memoryUseSchema,
  })
  .meta({ id: "Snapshot" });
export type Snapshot = z.infer<typeof snapshotSchema>;

const eventSchema = z
  .union(Object.entries(payloads).map(([type, data]) => z.object({ type: z.literal(type), at: instant, data })))
  .meta({ id: "Event", description: "The data of one message of the event stream." });

/** Sent once a second to who asks for them; they are not kept. */
const tickSchema = z.object({ second: secondSchema, memory: memoryUseSchema }).meta({ id: "Tick" });
export type Tick = z.infer<typeof tickSchema>;

/** What a message of the stream can carry: its `event` says which. */
export const streamSchema = z.union([snapshotSchema, tickSchema, eventSchema]).meta({ id: "Message" });

export const eventsQuery = z.strictObject({
  snapshot: z.stringbool().default(false).describe("Begin with a `snapshot` of VMs, docks and memory."),
  stats: z.stringbool().default(false).describe("A `tick` every second."),
  past: z.coerce
    .number()
    .int()
    .min(0)
    .default(0)
    .describe("Begin with so many of the last events, as far as they are kept and wanted."),
  follow: z.stringbool().default(true).describe("Whether the stream goes on with what happens from then on."),
  types: z.string().max(500).optional().describe("Only these types, with commas between them."),
});
