import type { ServerResponse } from "node:http";
import type { FastifyRequest } from "fastify";
import type { z } from "zod";
import { EVENT_TYPES, eventsQuery, type Second, type Snapshot, streamSchema, type Tick } from "../../api/index.ts";
import { VmSubstrateError } from "../../lib/index.ts";
import type { App, Context } from "../context.ts";
import type { LoggedEvent } from "../event-log.ts";
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
      exposeHeadRoute: false, // it would never end
      schema: {
        tags: ["events"],
        summary: "What happens, as Server-Sent Events",
        description:
          "Each message has an id, which `Last-Event-ID` takes to continue. `snapshot` comes first when it is asked for, and when what was missed is no longer kept.",
        querystring: eventsQuery,
        streamSchema,
        response: { 200: { content: { "text/event-stream": { schema: streamSchema } } } },
      },
    },
    (request, reply) => {
      if (streams >= MAX_STREAMS) {
        throw new VmSubstrateError("RATE_LIMITED", `${MAX_STREAMS} event streams are open; close one of them`);
      }
      const wanted = wantedTypes(request.query.types);
      streams++;
      reply.hijack();
      reply.raw.once("close", () => streams--);
      const headers = { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no" };
      reply.raw.writeHead(200, { ...headers, "x-content-type-options": "nosniff", "x-request-id": request.id });
      stream(new Messages(reply.raw), request, wanted, context);
    },
  );
}

function stream(
  messages: Messages,
  {
    headers,
    query: { snapshot, stats: wantsTicks, past, follow },
  }: FastifyRequest<{ Querystring: z.output<typeof eventsQuery> }>,
  wanted: ReadonlySet<string> | undefined,
  { pool, events, stats, closing }: Context,
): void {
  const lastId = headers["last-event-id"];
  const missed = typeof lastId === "string" ? events.since(lastId) : undefined;
  if (missed === undefined && (snapshot || lastId !== undefined)) {
    const all: Snapshot = {
      vms: pool.vms.map(vmView),
      docks: pool.docks.map(dockView),
      memory: memoryView(pool.memory),
    };
    messages.sendAll("snapshot", JSON.stringify(all), events.lastId);
  }
  const wants = ({ type }: LoggedEvent) => wanted === undefined || wanted.has(type);
  const send = (event: LoggedEvent) => {
    if (wants(event)) messages.send(event.type, event.text, event.id);
  };
  for (const event of missed ?? (lastId === undefined ? events.last(past, wants) : [])) send(event);
  if (!follow) {
    messages.end();
    return;
  }
  messages.onEnd(events.listen(send));
  if (wantsTicks) {
    const tick = (second: Second) => ({ second, memory: memoryView(pool.memory) }) satisfies Tick;
    messages.onEnd(stats.listen((second) => messages.send("tick", JSON.stringify(tick(second)))));
  }
  const timer = setInterval(() => messages.comment(), KEEP_ALIVE_MS).unref();
  messages.onEnd(() => clearInterval(timer));
  const end = () => messages.end();
  closing.addEventListener("abort", end, { once: true });
  messages.onEnd(() => closing.removeEventListener("abort", end));
  if (closing.aborted) end();
}

/** @throws VmSubstrateError INVALID_ARGUMENT for a type that there is not: whoever waits for it would wait for ever */
function wantedTypes(types: string | undefined): ReadonlySet<string> | undefined {
  if (types === undefined) return undefined;
  const wanted = types.split(",");
  const known: readonly string[] = EVENT_TYPES;
  const unknown = wanted.filter((type) => !known.includes(type));
  if (unknown.length === 0) return new Set(wanted);
  const message = `types: there is no event ${JSON.stringify(unknown[0])}; there are ${known.join(", ")}`;
  throw new VmSubstrateError("INVALID_ARGUMENT", message);
}

/** One client's stream. */
class Messages {
  readonly #response: ServerResponse;
  #maxBacklogBytes = MAX_BACKLOG_BYTES;

  constructor(response: ServerResponse) {
    this.#response = response;
    response.on("error", () => {});
    response.write("retry: 1000\n\n");
  }

  /** `data` is JSON, which has no line breaks. */
  send(type: string, data: string, id?: string): void {
    const idLine = id === undefined ? "" : `id: ${id}\n`;
    this.#write(`event: ${type}\n${idLine}data: ${data}\n\n`);
  }

  /** As `send`, of what is as large as it is: nobody is hung up on for being sent it. */
  sendAll(type: string, data: string, id: string): void {
    this.#maxBacklogBytes += Buffer.byteLength(data);
    this.send(type, data, id);
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
    if (this.#response.writableLength > this.#maxBacklogBytes) this.#response.destroy();
    else if (!this.#response.destroyed) this.#response.write(text);
  }
}
