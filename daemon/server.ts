import type { IncomingMessage } from "node:http";
import rateLimit from "@fastify/rate-limit";
import { type FastifyBaseLogger, fastify, LogController } from "fastify";
import { hasZodFastifySchemaValidationErrors, serializerCompiler, validatorCompiler } from "fastify-type-provider-zod";
import { API_PREFIX } from "../api/index.ts";
import { newId } from "../lib/core/index.ts";
import { VmSubstrateError } from "../lib/index.ts";
import { type Entrance, guard } from "./access.ts";
import { sendProblem } from "./answer.ts";
import { answerClientError, refuseExpectations } from "./client-error.ts";
import type { App, Context } from "./context.ts";
import { describeRoutes } from "./openapi.ts";
import { dockRoutes } from "./routes/docks.ts";
import { eventRoutes } from "./routes/events.ts";
import { guestRoutes } from "./routes/guest.ts";
import { operationRoutes } from "./routes/operations.ts";
import { pageRoutes } from "./routes/page.ts";
import { sessionRoutes } from "./routes/session.ts";
import { substrateRoutes } from "./routes/substrates.ts";
import { probeRoutes, systemRoutes } from "./routes/system.ts";
import { vmRoutes } from "./routes/vms.ts";

const BODY_BYTES = 1024 ** 2;
/** An answer may take an hour; the request itself may not. */
const HEAD_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 300_000;
/** How often the two are looked at. */
const CHECK_INTERVAL_MS = 1000;
const REQUEST_ID = /^[A-Za-z0-9_-]{8,64}$/;

export interface ServerOptions {
  readonly entrance: Entrance;
  readonly logger: FastifyBaseLogger;
  /** Of one address, over TCP. */
  readonly requestsPerSecond: number;
  /** For the head of a request, and for all of it. */
  readonly headTimeoutMs?: number;
  readonly requestTimeoutMs?: number;
}

/** The HTTP server of one entrance, not listening yet. */
export async function buildServer(
  context: Context,
  {
    entrance,
    logger,
    requestsPerSecond,
    headTimeoutMs = HEAD_TIMEOUT_MS,
    requestTimeoutMs = REQUEST_TIMEOUT_MS,
  }: ServerOptions,
): Promise<App> {
  const app: App = fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_BYTES,
    genReqId: ({ headers }) => {
      const given = headers["x-request-id"];
      return typeof given === "string" && REQUEST_ID.test(given) ? given : newId();
    },
    requestTimeout: requestTimeoutMs,
    http: {
      headersTimeout: headTimeoutMs,
      connectionsCheckingInterval: Math.min(CHECK_INTERVAL_MS, headTimeoutMs),
      requireHostHeader: false, // a missing one is refused as any other
      shouldUpgradeCallback: isSession,
    },
    routerOptions: { maxParamLength: 200 },
    forceCloseConnections: true,
    return503OnClosing: false,
    frameworkErrors: (error, request, reply) => void sendProblem(request, reply, error),
    clientErrorHandler: answerClientError,
  });
  refuseExpectations(app.server);
  app.removeContentTypeParser("text/plain");
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler((error, request, reply) => sendProblem(request, reply, asInvalid(error)));
  app.setNotFoundHandler((request, reply) => {
    const message = `${request.method} ${request.url.slice(0, 200)} is not served; GET /openapi.json has what is`;
    return sendProblem(request, reply, new VmSubstrateError("NOT_FOUND", message));
  });
  app.addContentTypeParser("application/octet-stream", { parseAs: "buffer" }, (_request, body, done) =>
    done(null, body),
  );
  app.addHook("onSend", async (request, reply) => {
    reply.header("x-request-id", request.id).header("x-content-type-options", "nosniff");
    if (reply.getHeader("cache-control") === undefined) reply.header("cache-control", "no-store");
  });
  app.addHook("onResponse", async ({ method, routeOptions, log }, { statusCode, elapsedTime }) => {
    const route = routeOptions.url ?? "none";
    context.metrics.requested(method, route, statusCode, elapsedTime);
    log.debug({ method, route, status: statusCode, ms: Math.round(elapsedTime * 10) / 10 }, "request");
  });
  app.addHook("onRequest", async (_request, reply) => context.requests.add(reply.raw));
  if (entrance.kind === "tcp") {
    await app.register(rateLimit, { global: false, max: requestsPerSecond, timeWindow: 1000 });
    // Of all requests, and before anything else: also of those without a right to be answered.
    app.addHook("onRequest", app.rateLimit());
  }
  guard(app, entrance);
  await describeRoutes(app);
  await app.register(
    async (api: App) => {
      systemRoutes(api, context);
      substrateRoutes(api, context, entrance);
      dockRoutes(api, context);
      vmRoutes(api, context);
      guestRoutes(api, context);
      await sessionRoutes(api, context);
      operationRoutes(api, context);
      eventRoutes(api, context);
    },
    { prefix: API_PREFIX },
  );
  await app.register(async (probes: App) => probeRoutes(probes, context));
  app.get("/openapi.json", { schema: { hide: true } }, async () => app.swagger());
  await app.register(pageRoutes);
  return app;
}

/** Any other that wants to become something else stays what it is: nobody would read its body, or end it. */
function isSession({ method, url = "", headers: { upgrade = "" } }: IncomingMessage): boolean {
  return method === "GET" && upgrade.toLowerCase() === "websocket" && /^[^?]*\/session(?:\?|$)/.test(url);
}

/** What does not match a schema is told as the library tells it. */
function asInvalid(error: unknown): unknown {
  if (!hasZodFastifySchemaValidationErrors(error)) return error;
  const problems = error.validation.map(({ instancePath, message = "is not valid" }) => ({
    path: instancePath.replaceAll("/", ".").replace(/^\./, ""),
    message,
  }));
  const listed = problems.map(({ path, message }) => (path === "" ? message : `${path}: ${message}`)).join("; ");
  return new VmSubstrateError("INVALID_ARGUMENT", `${error.validationContext}: ${listed}`, { details: { problems } });
}
