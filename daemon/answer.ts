import type { FastifyReply, FastifyRequest } from "fastify";
import { API_PREFIX, PROBLEM_TYPE } from "../api/index.ts";
import { VmSubstrateError } from "../lib/index.ts";
import type { Operations, Work } from "./operations.ts";
import { problemOf, retryAfter } from "./problem.ts";

const KEY = /^[\x21-\x7e]{1,200}$/;

/** The key of a request that may be repeated. Source: draft-ietf-httpapi-idempotency-key-header. @throws VmSubstrateError INVALID_ARGUMENT */
export function idempotencyKey({ headers }: FastifyRequest): string | undefined {
  const key = headers["idempotency-key"];
  if (key === undefined) return undefined;
  if (typeof key === "string" && KEY.test(key)) return key;
  throw new VmSubstrateError(
    "INVALID_ARGUMENT",
    "Idempotency-Key: expected 1 to 200 printable characters without spaces",
  );
}

/** Fires when the client hangs up before it has its answer. */
export function hangUp({ raw }: FastifyReply): AbortSignal {
  const ended = new AbortController();
  const onClose = () => {
    if (!raw.writableFinished) ended.abort(new VmSubstrateError("ABORTED", "the client hung up"));
  };
  // Of the answer and not of the connection, which other requests use before and after this one.
  raw.once("close", onClose);
  if (raw.closed || raw.destroyed) onClose();
  return ended.signal;
}

export interface Answer<Result> extends Omit<Work<Result>, "id"> {
  readonly operations: Operations;
  /** Seconds. */
  readonly wait: number;
  /** The status of the answer of one that succeeded in time. */
  readonly status: 200 | 201;
  /** Whether its key is kept by whoever does the work; default: by the operations, when there is one. */
  readonly isRepeatable?: boolean;
}

/**
 * Does work as an operation, and answers with its result when it is over in time, else with 202 and where to ask for it.
 * A client that hangs up while it waits has given up, unless a key lets it ask again.
 */
export async function answer<Result>(
  request: FastifyRequest,
  reply: FastifyReply,
  { operations, wait, status, isRepeatable = false, ...work }: Answer<Result>,
): Promise<never> {
  const operation = operations.start({ ...work, id: request.id });
  const signal = hangUp(reply);
  const isOver = await operation.over(wait * 1000, signal);
  if (signal.aborted && !isOver && work.key === undefined && !isRepeatable) operation.cancel();
  const location = `${API_PREFIX}/operations/${operation.id}`;
  if (!isOver) {
    return sent(reply.code(202).header("location", location).header("retry-after", "1").send(operation.view()));
  }
  const result = await operation.result;
  return sent(reply.code(status).header("content-location", location).send(result));
}

/** The framework wants to hear that the answer is on its way; no handler has anything to add to it. */
function sent(reply: FastifyReply): never {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- see above
  return reply as never;
}

/** Sends an error as a problem. */
export function sendProblem(request: FastifyRequest, reply: FastifyReply, error: unknown): FastifyReply {
  const problem = problemOf(error, request.id);
  const fields = { code: problem.code, status: problem.status };
  if (problem.status >= 500) request.log.error({ ...fields, err: error }, problem.detail);
  else request.log.info(fields, problem.detail);
  const seconds = retryAfter(problem);
  if (seconds !== undefined) reply.header("retry-after", String(seconds));
  if (problem.code === "UNAUTHENTICATED") reply.header("www-authenticate", 'Bearer realm="vm-substrate"');
  // What wanted to become a WebSocket is no connection of the server's any more: nobody else would end it.
  if (request.headers.upgrade !== undefined) {
    reply.header("connection", "close");
    reply.raw.once("finish", () => request.raw.socket.destroySoon());
  }
  return reply.code(problem.status).type(PROBLEM_TYPE).serializer(JSON.stringify).send(problem);
}
