import { z } from "zod";
import { dockBodySchema, dockedQuery, dockSchema, substrateParameter, undockedSchema } from "../../api/index.ts";
import { VmSubstrateError } from "../../lib/index.ts";
import { hangUp } from "../answer.ts";
import type { App, Context } from "../context.ts";
import { dockView } from "../views.ts";

const tags = ["docks"];

export function dockRoutes(app: App, { pool }: Context): void {
  app.get("/docks", { schema: { tags, summary: "All docks", response: { 200: z.array(dockSchema) } } }, async () =>
    pool.docks.map(dockView),
  );

  app.get(
    "/docks/:substrate",
    {
      schema: {
        tags,
        summary: "One dock; with `ready` when so many clones are",
        params: substrateParameter,
        querystring: dockedQuery,
        response: { 200: dockSchema },
      },
    },
    async (request, reply) => {
      const { substrate } = request.params;
      const { ready, timeoutMs } = request.query;
      if (ready !== undefined) {
        const options = { count: ready, signal: hangUp(reply), ...(timeoutMs === undefined ? {} : { timeoutMs }) };
        return dockView(await pool.docked(substrate, options));
      }
      // As everywhere: without a version, and as the latest, it is the one that follows the newest.
      const name = substrate.replace(/@latest$/, "");
      const dock = pool.docks.find((one) => (one.pinned ? `${one.substrate}@${one.version}` : one.substrate) === name);
      if (dock === undefined) throw new VmSubstrateError("NOT_FOUND", `there is no dock of "${substrate}"`);
      return dockView(dock);
    },
  );

  app.put(
    "/docks/:substrate",
    {
      schema: {
        tags,
        summary: "Keep clones of a substrate ready",
        params: substrateParameter,
        body: dockBodySchema,
        response: { 200: dockSchema },
      },
    },
    async ({ params, body }) => dockView(await pool.dock(params.substrate, body)),
  );

  app.delete(
    "/docks/:substrate",
    {
      schema: {
        tags,
        summary: "Take a dock away, with its waiting clones",
        params: substrateParameter,
        response: { 200: undockedSchema },
      },
    },
    async ({ params }) => ({ undocked: await pool.undock(params.substrate) }),
  );
}
