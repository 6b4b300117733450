import { z } from "zod";
import {
  consoleQuery,
  consoleSchema,
  execBodySchema,
  execResultSchema,
  idParameter,
  readFileQuery,
  writeFileQuery,
} from "../../api/index.ts";
import { VmSubstrateError } from "../../lib/index.ts";
import { hangUp } from "../answer.ts";
import type { App, Context } from "../context.ts";

const tags = ["guests"];
/** A file that is written, or the input of a program, is in memory as a whole. */
const MAX_BODY_BYTES = 64 * 1024 ** 2;

/** What is done within a VM, by its agent. */
export function guestRoutes(app: App, { vms }: Context): void {
  app.post(
    "/vms/:id/exec",
    {
      bodyLimit: MAX_BODY_BYTES,
      schema: {
        tags,
        summary: "Run a program to its end",
        description: "A program that fails is a result, not an error.",
        params: idParameter,
        body: execBodySchema,
        response: { 200: execResultSchema },
      },
    },
    async (request, reply) => {
      const { argv, stdinBase64, ...options } = request.body;
      const stdin = stdinBase64 === undefined ? undefined : Buffer.from(stdinBase64, "base64");
      const vm = vms.find(request.params.id);
      const { exitCode, signal, stdoutBytes, stderrBytes, truncated } = await vm.exec(argv, {
        ...options,
        stdin,
        signal: hangUp(reply),
      });
      return { exitCode, signal, stdoutBase64: base64(stdoutBytes), stderrBase64: base64(stderrBytes), truncated };
    },
  );

  app.get(
    "/vms/:id/files",
    {
      schema: {
        tags,
        summary: "Read a file",
        params: idParameter,
        querystring: readFileQuery,
        response: { 200: { content: { "application/octet-stream": { schema: z.any() } } } },
      },
    },
    async (request, reply) => {
      const { path, ...options } = request.query;
      const bytes = await vms.find(request.params.id).readFile(path, { ...options, signal: hangUp(reply) });
      return reply.type("application/octet-stream").send(Buffer.from(bytes));
    },
  );

  app.put(
    "/vms/:id/files",
    {
      bodyLimit: MAX_BODY_BYTES,
      schema: {
        tags,
        summary: "Replace a file's content",
        consumes: ["application/octet-stream"],
        params: idParameter,
        querystring: writeFileQuery,
        response: { 204: z.undefined() },
      },
    },
    async (request, reply) => {
      const { path, ...options } = request.query;
      const { body: content = new Uint8Array() } = request;
      if (!(content instanceof Uint8Array)) {
        const message = "expected the file's bytes as application/octet-stream";
        throw new VmSubstrateError("REQUEST_REFUSED", message, { details: { status: 415 } });
      }
      await vms.find(request.params.id).writeFile(path, content, { ...options, signal: hangUp(reply) });
      return reply.code(204).send();
    },
  );

  app.get(
    "/vms/:id/console",
    {
      schema: {
        tags,
        summary: "The end of what the guest wrote to its console",
        params: idParameter,
        querystring: consoleQuery,
        response: { 200: consoleSchema },
      },
    },
    async (request, reply) => ({
      text: await vms.find(request.params.id).console({ ...request.query, signal: hangUp(reply) }),
    }),
  );
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}
