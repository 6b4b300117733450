import { z } from "zod";
import {
  activateBodySchema,
  extendBodySchema,
  forkBodySchema,
  freezeBodySchema,
  idParameter,
  memorySchema,
  operationSchema,
  outcomesSchema,
  pageOf,
  shrinkBodySchema,
  versionSchema,
  vmSchema,
  vmsQuery,
  waitQuery,
} from "../../api/index.ts";
import { VmSubstrateError } from "../../lib/index.ts";
import { answer, hangUp, idempotencyKey } from "../answer.ts";
import type { App, Context } from "../context.ts";
import { parseSelector } from "../label-selector.ts";
import { page } from "../page.ts";
import { outcomeViews, specOf, vmView } from "../views.ts";

const tags = ["vms"];
/** A claim takes milliseconds, a cold boot seconds: so long a request waits, unless it says otherwise. */
const ACTIVATE_WAIT_SECONDS = 60;
/** The files of a call are 16 MiB at most, and base64 makes them a third longer. */
const ACTIVATE_BODY_BYTES = 32 * 1024 ** 2;

export function vmRoutes(app: App, { pool, operations, vms }: Context): void {
  app.get(
    "/vms",
    { schema: { tags, summary: "VMs, the oldest first", querystring: vmsQuery, response: { 200: pageOf(vmSchema) } } },
    async ({ query: { labels, state, substrate, ...pages } }) => {
      const selects = parseSelector(labels ?? "");
      const found = pool.vms.filter(
        (vm) =>
          selects(vm.labels) &&
          (state === undefined || vm.state === state) &&
          (substrate === undefined ||
            [vm.substrate.name, `${vm.substrate.name}@${vm.substrate.version}`].includes(substrate)),
      );
      const views = found.map(vmView).toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
      return page(views, pages, keyOf);
    },
  );

  app.post(
    "/vms",
    {
      bodyLimit: ACTIVATE_BODY_BYTES,
      schema: {
        tags,
        summary: "Activate VMs",
        description:
          "Personal, running, verified VMs of a substrate: from its dock, or cloned. All or none, unless `settled`.",
        body: activateBodySchema,
        querystring: waitQuery(ACTIVATE_WAIT_SECONDS),
        response: { 201: outcomesSchema, 202: operationSchema },
      },
    },
    async (request, reply) => {
      const { count, mode, coldBoot, spec, callId = request.id } = request.body;
      if (coldBoot && mode === "settled") {
        throw new VmSubstrateError("INVALID_ARGUMENT", "mode: cold boots are all or none");
      }
      const key = idempotencyKey(request);
      const full = specOf(spec, key);
      return answer(request, reply, {
        kind: coldBoot ? "coldBoot" : "activate",
        operations,
        status: 201,
        wait: request.query.wait,
        run: async (signal) => {
          const options = { signal, callId };
          if (mode === "settled") return outcomeViews(await pool.activateSettled(count, full, options));
          const make = coldBoot ? pool.coldBoot.bind(pool) : pool.activate.bind(pool);
          return outcomeViews((await make(count, full, options)).map((vm) => ({ vm })));
        },
        isRepeatable: key !== undefined,
      });
    },
  );

  app.get(
    "/vms/:id",
    { schema: { tags, summary: "One VM", params: idParameter, response: { 200: vmSchema } } },
    async ({ params }) => vmView(vms.find(params.id)),
  );

  app.delete(
    "/vms/:id",
    {
      schema: {
        tags,
        summary: "Release a VM: nothing of it is left",
        params: idParameter,
        response: { 204: z.undefined() },
      },
    },
    async ({ params }, reply) => {
      await vms.find(params.id).release();
      return reply.code(204).send();
    },
  );

  for (const [verb, summary] of [
    ["park", "Pause a VM; it keeps memory, disk and identity"],
    ["resume", "Let a parked VM run again"],
  ] as const) {
    app.post(
      `/vms/:id/${verb}`,
      { schema: { tags, summary, params: idParameter, response: { 200: vmSchema } } },
      async ({ params }) => {
        const vm = vms.find(params.id);
        await vm[verb]();
        return vmView(vm);
      },
    );
  }

  app.post(
    "/vms/:id/extend",
    {
      schema: {
        tags,
        summary: "Put a VM's expiry off",
        params: idParameter,
        body: extendBodySchema,
        response: { 200: vmSchema },
      },
    },
    async ({ params, body }) => {
      const vm = vms.find(params.id);
      await vm.extend(body.ms);
      return vmView(vm);
    },
  );

  app.post(
    "/vms/:id/shrink",
    {
      schema: {
        tags,
        summary: "Take memory away that a VM was given",
        description: "While it runs. Its guest moves what programs have there, or keeps the memory: `MEMORY_IN_USE`.",
        params: idParameter,
        body: shrinkBodySchema,
        response: { 200: vmSchema },
      },
    },
    async ({ params, body }, reply) => {
      const vm = vms.find(params.id);
      await vm.shrink({ ...body, signal: hangUp(reply) });
      return vmView(vm);
    },
  );

  app.get(
    "/vms/:id/memory",
    { schema: { tags, summary: "What a VM takes", params: idParameter, response: { 200: memorySchema } } },
    async ({ params }) => vms.find(params.id).memory(),
  );

  app.post(
    "/vms/:id/fork",
    {
      schema: {
        tags,
        summary: "Make further VMs out of this one as it is now",
        params: idParameter,
        body: forkBodySchema,
        querystring: waitQuery(ACTIVATE_WAIT_SECONDS),
        response: { 201: outcomesSchema, 202: operationSchema },
      },
    },
    async (request, reply) => {
      const vm = vms.find(request.params.id);
      const { count, options, callId = request.id } = request.body;
      return answer(request, reply, {
        kind: "fork",
        operations,
        status: 201,
        wait: request.query.wait,
        key: idempotencyKey(request),
        request: [vm.id, count, options],
        run: async (signal) =>
          outcomeViews((await vm.fork(count, { ...options, callId, signal })).map((fork) => ({ vm: fork }))),
      });
    },
  );

  app.post(
    "/vms/:id/freeze",
    {
      schema: {
        tags,
        summary: "Make a substrate of a VM as it is now; the VM goes on",
        params: idParameter,
        body: freezeBodySchema,
        querystring: waitQuery(0),
        response: { 201: versionSchema, 202: operationSchema },
      },
    },
    async (request, reply) => {
      const vm = vms.find(request.params.id);
      return answer(request, reply, {
        kind: "freeze",
        operations,
        status: 201,
        wait: request.query.wait,
        key: idempotencyKey(request),
        request: [vm.id, request.body],
        run: (signal, onProgress) => vm.freeze({ ...request.body, signal, onProgress }),
      });
    },
  );
}

/** In order of age. */
function keyOf({ createdAt, id }: { readonly createdAt: string; readonly id: string }): string {
  return `${createdAt} ${id}`;
}
