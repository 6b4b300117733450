import type { ServerResponse } from "node:http";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { type DaemonEvent, eventsQuery, type Snapshot, type Tick } from "../../api/index.ts";
import { VmSubstrateError } from "../../lib/index.ts";
import type { App, Context } from "../context.ts";
import { dockView, memoryView, vmView } from "../views.ts";

/** More streams at a time are refused. */
const MAX_STREAMS = 128;
/** Sent when nothing else is, so that whoever stands in between does not end the connection. */
const KEEP_ALIVE_MS = 15_000;
/** A reader that is so far behind is hung up on; it comes back and continues where it was. */
const MAX_BACKLOG_BYTES = 4 * 1024 ** 2;

/** The event stream. Source: WHATWG HTML, "Server-sent events". */
export function eventRoutes(app: App, context: Context): void {
  let streams = 0;

  app.get(
    "/events",
    {
      schema: {
        tags: ["events"],
        summary: "What happens, as Server-Sent Events",
        description:
          "Each message has an id, which `Last-Event-ID` takes to continue. `snapshot` comes first when it is asked for, and when what was missed is no longer kept.",
        querystring: eventsQuery,
        response: { 200: { content: { "text/event-stream": { schema: z.string() } } } },
      },
    },
    (request, reply) => {
      if (streams >= MAX_STREAMS) {
        throw new VmSubstrateError("RATE_LIMITED", `${MAX_STREAMS} event streams are open; close one of them`);
      }
      streams++;
      reply.hijack();
      reply.raw.once("close", () => streams--);
      const headers = { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no" };
      reply.raw.writeHead(200, { ...headers, "x-content-type-options": "nosniff" });
      stream(new Messages(reply.raw), request, request.query, context);
    },
  );
}

function stream(
  messages: Messages,
  request: FastifyRequest,
  { snapshot, stats: wantsTicks, types, past, follow }: z.output<typeof eventsQuery>,
  { pool, events, stats, closing }: Context,
): void {
  const wanted = types === undefined ? undefined : new Set(types.split(","));
  const lastId = request.headers["last-event-id"];
  const missed = typeof lastId === "string" ? events.since(lastId) : undefined;
  if (missed === undefined && (snapshot || lastId !== undefined)) {
    const all: Snapshot = {
      vms: pool.vms.map(vmView),
      docks: pool.docks.map(dockView),
      memory: memoryView(pool.memory),
    };
    messages.send("snapshot", all, events.lastId);
  }
  const wants = ({ type }: DaemonEvent) => wanted === undefined || wanted.has(type);
  const send = (event: DaemonEvent) => {
    const { id, type, at, data } = event;
    if (wants(event)) messages.send(type, { type, at, data }, id);
  };
  for (const event of missed ?? (lastId === undefined ? events.last(past, wants) : [])) send(event);
  if (!follow) {
    messages.end();
    return;
  }
  messages.onEnd(events.listen(send));
  if (wantsTicks) {
    messages.onEnd(
      stats.listen((second) => messages.send("tick", { second, memory: memoryView(pool.memory) } satisfies Tick)),
    );
  }
  const timer = setInterval(() => messages.comment(), KEEP_ALIVE_MS).unref();
  messages.onEnd(() => clearInterval(timer));
  const end = () => messages.end();
  closing.addEventListener("abort", end, { once: true });
  messages.onEnd(() => closing.removeEventListener("abort", end));
  if (closing.aborted) end();
}

/** One client's stream. */
class Messages {
  readonly #response: ServerResponse;

  constructor(response: ServerResponse) {
    this.#response = response;
    response.on("error", () => {});
    response.write("retry: 1000\n\n");
  }

  send(type: string, data: unknown, id?: string): void {
    const idLine = id === undefined ? "" : `id: ${id}\n`;
    this.#write(`event: ${type}\n${idLine}data: ${JSON.stringify(data)}\n\n`);
  }

  comment(): void {
    this.#write(":\n\n");
  }

  end(): void {
    this.#response.end();
  }

  onEnd(undo: () => void): void {
    this.#response.once("close", undo);
  }

  #write(text: string): void {
    if (this.#response.writableLength > MAX_BACKLOG_BYTES) this.#response.destroy();
    else if (!this.#response.destroyed) this.#response.write(text);
  }
}
