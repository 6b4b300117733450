import { z } from "zod";
import {
  daemonSchema,
  doctorSchema,
  gcBodySchema,
  gcReportSchema,
  memoryUseSchema,
  readySchema,
  statsSchema,
} from "../../api/index.ts";
import { doctor } from "../../lib/index.ts";
import type { App, Context } from "../context.ts";
import { PACKAGE_VERSION } from "../package-version.ts";
import { gcView, memoryView } from "../views.ts";

const tags = ["system"];

export function systemRoutes(app: App, { pool, place, startedAt, listening, stats, qemu }: Context): void {
  const { stateDir, cacheDir, runtimeDir, sharedMemoryDir } = place;

  app.get(
    "/",
    { schema: { tags, summary: "The daemon", response: { 200: daemonSchema } } },
    async ({ scope = "read" }) => ({
      version: PACKAGE_VERSION,
      api: "v1" as const,
      pid: process.pid,
      startedAt: startedAt.toISOString(),
      directories: { stateDir, cacheDir, runtimeDir, sharedMemoryDir },
      url: listening.url,
      scope,
    }),
  );

  app.get(
    "/memory",
    { schema: { tags, summary: "What all clones take", response: { 200: memoryUseSchema } } },
    async () => memoryView(pool.memory),
  );

  app.get(
    "/stats",
    { schema: { tags, summary: "The last ten minutes, second by second", response: { 200: statsSchema } } },
    async () => ({ seconds: [...stats.seconds] }),
  );

  app.post(
    "/gc",
    { schema: { tags, summary: "Take away what is nobody's", body: gcBodySchema, response: { 200: gcReportSchema } } },
    async ({ body }) => gcView(await pool.gc(body)),
  );

  app.get(
    "/doctor",
    { schema: { tags, summary: "Whether this machine can run VMs", response: { 200: doctorSchema } } },
    async () => doctor({ stateDir, cacheDir, qemu }),
  );
}

/** Beside the API: for load balancers and Prometheus. */
export function probeRoutes(app: App, { pool, metrics, closing }: Context): void {
  app.get(
    "/healthz",
    { schema: { tags, summary: "Whether the daemon lives", response: { 200: z.object({ ok: z.literal(true) }) } } },
    async () => ({ ok: true as const }),
  );

  app.get(
    "/readyz",
    {
      schema: {
        tags,
        summary: "Whether it takes calls, and no dock has given up for a while",
        response: { 200: readySchema, 503: readySchema },
      },
    },
    async ({ scope }, reply) => {
      const broken = pool.docks.filter(({ breaker }) => breaker === "open").map(({ substrate }) => substrate);
      const ready = !closing.aborted && broken.length === 0;
      return reply
        .code(ready ? 200 : 503)
        .send({ ready, ...(broken.length === 0 || scope === undefined ? {} : { docks: broken }) });
    },
  );

  app.get("/metrics", { schema: { tags, summary: "For Prometheus", hide: true } }, async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.text()),
  );
}
