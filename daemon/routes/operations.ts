import { z } from "zod";
import { operationSchema, operationsQuery, pageOf, waitQuery } from "../../api/index.ts";
import { VmSubstrateError } from "../../lib/index.ts";
import { hangUp } from "../answer.ts";
import type { App, Context } from "../context.ts";
import { page } from "../page.ts";

const tags = ["operations"];
const params = z.strictObject({ id: z.string().min(1).max(64) });

export function operationRoutes(app: App, { operations }: Context): void {
  /** @throws VmSubstrateError NOT_FOUND */
  const find = (id: string) => {
    const operation = operations.get(id);
    if (operation === undefined) throw new VmSubstrateError("NOT_FOUND", `there is no operation "${id}", or no more`);
    return operation;
  };

  app.get(
    "/operations",
    {
      schema: {
        tags,
        summary: "Operations, the oldest first",
        querystring: operationsQuery,
        response: { 200: pageOf(operationSchema) },
      },
    },
    async ({ query: { state, ...pages } }) => {
      const views = operations.all.map((operation) => operation.view());
      const keyOf = ({ createdAt, id }: (typeof views)[number]) => `${createdAt} ${id}`;
      const wanted = views.filter((view) => state === undefined || view.state === state);
      return page(
        wanted.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1)),
        pages,
        keyOf,
      );
    },
  );

  app.get(
    "/operations/:id",
    {
      schema: {
        tags,
        summary: "One operation; with `wait` when it is over, or so many seconds have passed",
        params,
        querystring: waitQuery(0),
        response: { 200: operationSchema },
      },
    },
    async (request, reply) => {
      const operation = find(request.params.id);
      await operation.over(request.query.wait * 1000, hangUp(reply));
      return operation.view();
    },
  );

  app.delete(
    "/operations/:id",
    {
      schema: {
        tags,
        summary: "Cancel an operation; what it began is undone",
        params,
        response: { 202: operationSchema },
      },
    },
    async (request, reply) => {
      const operation = find(request.params.id);
      operation.cancel();
      return reply.code(202).send(operation.view());
    },
  );
}
