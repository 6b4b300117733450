import { pino } from "pino";
import type { Context } from "./context.ts";
import { RequestsUnderWay } from "./requests-under-way.ts";
import { buildServer } from "./server.ts";

/** The API's description in OpenAPI 3.1, as a daemon serves it: for whatever is made of it. */
export async function describeApi(): Promise<object> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- nothing is asked of the pool before a request comes
  const context = { place: {}, requests: new RequestsUnderWay() } as unknown as Context;
  const logger = pino({ level: "silent" });
  const server = await buildServer(context, { entrance: { kind: "socket" }, logger, requestsPerSecond: 1 });
  try {
    await server.ready();
    return server.swagger();
  } finally {
    await server.close();
  }
}
