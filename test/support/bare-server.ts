import { pino } from "pino";
import type { App, Context } from "../../daemon/context.ts";
import { RequestsUnderWay } from "../../daemon/requests-under-way.ts";
import { buildServer, type ServerOptions } from "../../daemon/server.ts";

/** A server without a pool behind it: for what is answered before that would be asked. */
export function bareServer(more: Partial<ServerOptions> = {}, parts: object = {}): Promise<App> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- nothing else is looked at
  const context = {
    place: {},
    requests: new RequestsUnderWay(),
    metrics: { requested: () => {} },
    ...parts,
  } as unknown as Context;
  const logger = pino({ level: "silent" });
  return buildServer(context, { entrance: { kind: "socket" }, logger, requestsPerSecond: 1000, ...more });
}
