import rateLimit from "@fastify/rate-limit";
import swagger from "@fastify/swagger";
import { type FastifyBaseLogger, fastify, LogController } from "fastify";
import {
  hasZodFastifySchemaValidationErrors,
  jsonSchemaTransform,
  jsonSchemaTransformObject,
  serializerCompiler,
  validatorCompiler,
} from "fastify-type-provider-zod";
import { API_PREFIX } from "../api/index.ts";
import { newId } from "../lib/core/index.ts";
import { VmSubstrateError } from "../lib/index.ts";
import { type Entrance, guard } from "./access.ts";
import { sendProblem } from "./answer.ts";
import type { App, Context } from "./context.ts";
import { PACKAGE_VERSION } from "./package-version.ts";
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
/** A request may wait for an operation for an hour; its head may not. */
const HEAD_TIMEOUT_MS = 10_000;
const REQUEST_ID = /^[A-Za-z0-9_-]{8,64}$/;

export interface ServerOptions {
  readonly entrance: Entrance;
  readonly logger: FastifyBaseLogger;
  /** Of one address, over TCP. */
  readonly requestsPerSecond: number;
}

/** The HTTP server of one entrance, not listening yet. */
export async function buildServer(
  context: Context,
  { entrance, logger, requestsPerSecond }: ServerOptions,
): Promise<App> {
  const app: App = fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_BYTES,
    genReqId: ({ headers }) => {
      const given = headers["x-request-id"];
      return typeof given === "string" && REQUEST_ID.test(given) ? given : newId();
    },
    http: { headersTimeout: HEAD_TIMEOUT_MS, requestTimeout: 0 },
    routerOptions: { maxParamLength: 200 },
    forceCloseConnections: true,
    return503OnClosing: false,
    frameworkErrors: (error, request, reply) => void sendProblem(request, reply, error),
  });
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
  if (entrance.kind === "tcp") {
    await app.register(rateLimit, { max: requestsPerSecond, timeWindow: 1000, hook: "onRequest" });
  }
  guard(app, entrance);
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "vm-substrate",
        version: PACKAGE_VERSION,
        description: "Personal, running VMs in milliseconds. Errors are problems (RFC 9457).",
        license: { name: "Apache-2.0", identifier: "Apache-2.0" },
      },
      components: { securitySchemes: { token: { type: "http", scheme: "bearer" } } },
      security: [{ token: [] }],
    },
    transform: jsonSchemaTransform,
    transformObject: jsonSchemaTransformObject,
  });
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
