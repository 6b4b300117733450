import { request as httpRequest, type IncomingHttpHeaders, type OutgoingHttpHeaders } from "node:http";
import { createConnection, type Socket } from "node:net";

/** A unix socket, or a port of 127.0.0.1. */
export type At = string | number;

export interface RawRequest {
  readonly method?: string;
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders;
  /** Bytes and text are sent as they are, all else as JSON. */
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it
  readonly json: any; // oxlint-disable-line typescript/no-explicit-any
}

/** One request, without any help of a client. */
export function ask(at: At, { method = "GET", path, headers = {}, body, signal }: RawRequest): Promise<RawAnswer> {
  const isPlain = body === undefined || typeof body === "string" || body instanceof Uint8Array;
  const bytes = isPlain ? body : JSON.stringify(body);
  const given = isPlain ? headers : { "content-type": "application/json", ...headers };
  const place = typeof at === "string" ? { socketPath: at } : { host: "127.0.0.1", port: at };
  return new Promise((resolve, reject) => {
    const request = httpRequest({ ...place, method, path, headers: given, agent: false, ...(signal && { signal }) });
    request.once("error", reject);
    request.once("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("error", reject);
      response.once("end", () => {
        const text = Buffer.concat(chunks).toString();
        const { statusCode: status = 0, headers: answered } = response;
        resolve({ status, headers: answered, text, json: jsonOf(text) });
      });
    });
    request.end(bytes);
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Sends bytes as they are, and gives what comes until the other side ends the connection. */
export function speak(at: At, bytes: string | Uint8Array, onConnect?: (socket: Socket) => void): Promise<string> {
  const socket = typeof at === "string" ? createConnection(at) : createConnection(at, "127.0.0.1");
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.once("error", reject);
    socket.once("close", () => resolve(Buffer.concat(chunks).toString("latin1")));
    socket.once("connect", () => {
      socket.write(bytes);
      onConnect?.(socket);
    });
  });
}
