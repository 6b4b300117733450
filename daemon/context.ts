import type {
  FastifyBaseLogger,
  FastifyInstance,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import type { DaemonPlace } from "../lib/host/index.ts";
import type { Pool } from "../lib/index.ts";
import type { EventLog } from "./event-log.ts";
import type { VmFinder } from "./find-vm.ts";
import type { Metrics } from "./metrics.ts";
import type { Operations } from "./operations.ts";
import type { RequestsUnderWay } from "./requests-under-way.ts";
import type { Stats } from "./stats.ts";

/** What the routes work with. One for all entrances. */
export interface Context {
  readonly pool: Pool;
  readonly place: DaemonPlace;
  readonly startedAt: Date;
  /** Where it listens over TCP; null when it does not, or not yet. */
  readonly listening: { url: string | null };
  readonly qemu: string | undefined;
  readonly operations: Operations;
  readonly requests: RequestsUnderWay;
  readonly events: EventLog;
  readonly stats: Stats;
  readonly metrics: Metrics;
  readonly vms: VmFinder;
  /** Ends streams when the daemon stops. */
  readonly closing: AbortSignal;
}

/** A server whose routes are typed by their schemas. */
export type App = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  ZodTypeProvider
>;
