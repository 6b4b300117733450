import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { PROBLEM_TYPE } from "../api/index.ts";
import { newId } from "../lib/core/index.ts";
import { VmSubstrateError } from "../lib/index.ts";
import { problemOf } from "./problem.ts";

const REASONS: Readonly<Record<number, string>> = {
  400: "Bad Request",
  408: "Request Timeout",
  413: "Content Too Large",
  431: "Request Header Fields Too Large",
};

/** By what Node's parser finds. */
const REFUSALS: Readonly<Record<string, readonly [status: number, why: string]>> = {
  HPE_HEADER_OVERFLOW: [431, "the request's head is too large"],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, "the request's chunks have too much beside them"],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "the request came too slowly"],
};

/** Answers what is no request, as any other that is refused. There is no reply for it: it was never read to its end. */
export function answerClientError(error: Error & { readonly code?: string }, socket: Socket): void {
  // Nobody reads it, or something else was half written: bytes in its middle would be taken for a part of that.
  if (error.code === "ECONNRESET" || !socket.writable || socket.bytesWritten > 0) {
    socket.destroy();
    return;
  }
  const [status, why] = REFUSALS[error.code ?? ""] ?? [400, "the request is not HTTP"];
  const { body, id } = refusal(status, why);
  const head = [
    `HTTP/1.1 ${status} ${REASONS[status]}`,
    `content-type: ${PROBLEM_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    `x-request-id: ${id}`,
    "cache-control: no-store",
    "connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`, () => socket.destroy());
}

/** `Expect: 100-continue` is Node's; nothing else can be expected. Source: RFC 9110, section 10.1.1. */
export function refuseExpectations(server: Server): void {
  server.on("checkExpectation", (_request: IncomingMessage, response: ServerResponse) => {
    const { body, id } = refusal(417, "Expect: only 100-continue is understood");
    const length = { "content-length": Buffer.byteLength(body), connection: "close" };
    response.writeHead(417, { "content-type": PROBLEM_TYPE, "x-request-id": id, ...length }).end(body);
  });
}

function refusal(status: number, why: string): { readonly body: string; readonly id: string } {
  const id = newId();
  const problem = problemOf(new VmSubstrateError("REQUEST_REFUSED", why, { details: { status } }), id);
  return { body: JSON.stringify(problem), id };
}
