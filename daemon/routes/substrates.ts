import { z } from "zod";
import {
  buildBodySchema,
  builtSchema,
  exportBodySchema,
  exportedSchema,
  importBodySchema,
  operationSchema,
  pruneBodySchema,
  pruneReportSchema,
  removedSchema,
  scrubBodySchema,
  scrubReportSchema,
  substrateParameter,
  substrateSchema,
  waitQuery,
} from "../../api/index.ts";
import { VmSubstrateError } from "../../lib/index.ts";
import { type Entrance, requireSocket } from "../access.ts";
import { answer, idempotencyKey } from "../answer.ts";
import type { App, Context } from "../context.ts";
import { pruneView, substrateView } from "../views.ts";

const tags = ["substrates"];
const accepted = { 202: operationSchema };

export function substrateRoutes(app: App, { pool, operations }: Context, entrance: Entrance): void {
  const list = async () => (await pool.substrates()).map(substrateView);

  app.get(
    "/substrates",
    { schema: { tags, summary: "All substrates, every version", response: { 200: z.array(substrateSchema) } } },
    list,
  );

  app.get(
    "/substrates/:substrate",
    { schema: { tags, summary: "One substrate", params: substrateParameter, response: { 200: substrateSchema } } },
    async ({ params }) => named(await list(), params.substrate),
  );

  app.post(
    "/substrates",
    {
      schema: {
        tags,
        summary: "Make a substrate by a recipe",
        body: buildBodySchema,
        querystring: waitQuery(0),
        response: { 201: builtSchema, ...accepted },
      },
    },
    async (request, reply) => {
      const { body } = request;
      if (body.recipeFile !== undefined) requireSocket(entrance, "recipeFile");
      return answer(request, reply, {
        kind: "build",
        operations,
        status: 201,
        wait: request.query.wait,
        key: idempotencyKey(request),
        request: body,
        run: async (signal, onProgress) => {
          const { reused, ...info } = await pool.build({ ...body, signal, onProgress });
          return { ...substrateView(info), reused };
        },
      });
    },
  );

  app.delete(
    "/substrates/:substrate",
    {
      schema: {
        tags,
        summary: "Remove one version, or by the bare name all of them",
        params: substrateParameter,
        response: { 200: removedSchema },
      },
    },
    async ({ params }) => ({ removed: await pool.removeSubstrate(params.substrate) }),
  );

  app.post(
    "/substrates/:substrate/export",
    {
      schema: {
        tags,
        summary: "Write a substrate into one file",
        params: substrateParameter,
        body: exportBodySchema,
        querystring: waitQuery(0),
        response: { 201: exportedSchema, ...accepted },
      },
    },
    async (request, reply) => {
      requireSocket(entrance, "file");
      const { substrate } = request.params;
      const { file } = request.body;
      return answer(request, reply, {
        kind: "export",
        operations,
        status: 201,
        wait: request.query.wait,
        key: idempotencyKey(request),
        request: [substrate, file],
        run: (signal, onProgress) => pool.exportSubstrate(substrate, file, { signal, onProgress }),
      });
    },
  );

  app.post(
    "/import",
    {
      schema: {
        tags,
        summary: "Take a substrate from a file into the catalog",
        body: importBodySchema,
        querystring: waitQuery(0),
        response: { 201: builtSchema, ...accepted },
      },
    },
    async (request, reply) => {
      requireSocket(entrance, "file");
      const { file, name } = request.body;
      return answer(request, reply, {
        kind: "import",
        operations,
        status: 201,
        wait: request.query.wait,
        key: idempotencyKey(request),
        request: request.body,
        run: async (signal, onProgress) => {
          const { reused, ...info } = await pool.importSubstrate(file, { name, signal, onProgress });
          return { ...substrateView(info), reused };
        },
      });
    },
  );

  app.post(
    "/prune",
    {
      schema: {
        tags,
        summary: "Remove old versions that nothing uses",
        body: pruneBodySchema,
        response: { 200: pruneReportSchema },
      },
    },
    async ({ body }) => pruneView(await pool.pruneSubstrates(body)),
  );

  app.post(
    "/scrub",
    {
      schema: {
        tags,
        summary: "Read every file of the catalog and compare it with its digest",
        body: scrubBodySchema,
        querystring: waitQuery(0),
        response: { 200: scrubReportSchema, ...accepted },
      },
    },
    async (request, reply) =>
      answer(request, reply, {
        kind: "scrub",
        operations,
        status: 200,
        wait: request.query.wait,
        key: idempotencyKey(request),
        request: request.body,
        run: (signal, onProgress) => pool.scrubSubstrates({ ...request.body, signal, onProgress }),
      }),
  );
}

/** The newest of a name, or that very version. @throws VmSubstrateError SUBSTRATE_NOT_FOUND */
function named<One extends { readonly name: string; readonly version: number }>(all: One[], reference: string): One {
  const [name, version = "latest", more] = reference.split("@");
  const versions = all.filter((one) => one.name === name).toSorted((a, b) => b.version - a.version);
  const found = version === "latest" ? versions[0] : versions.find((one) => String(one.version) === version);
  if (found !== undefined && more === undefined) return found;
  throw new VmSubstrateError(
    "SUBSTRATE_NOT_FOUND",
    `there is no substrate "${reference}"; GET /v1/substrates lists them`,
  );
}
