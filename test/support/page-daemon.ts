import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import type {
  ActivateBody,
  DaemonEvent,
  DockView,
  EventType,
  OperationView,
  Second,
  SubstrateView,
  VmView,
} from "../../api/index.ts";
import { fakeMemory, fakeSecond, fakeVm } from "./fake-views.ts";

export const WRITE_TOKEN = "write-token";
export const READ_TOKEN = "read-token";

/** As strict as it can be: whatever the page does besides its own files is a violation, and an error in its console. */
const CONTENT_SECURITY_POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};
const KEPT_EVENTS = 100;

export interface PageDaemonOptions {
  /** Where the built page is. */
  readonly page: string;
  /** 0 for any. */
  readonly port?: number;
}

/**
 * Stands for the daemon where only what the page makes of it matters: the same routes, tokens and event stream, and VMs that
 * are nothing but their views.
 */
export class PageDaemon implements AsyncDisposable {
  readonly vms = new Map<string, VmView>();
  readonly docks: DockView[] = [];
  readonly substrates: SubstrateView[] = [];
  readonly operations: OperationView[] = [];
  seconds: Second[] = [];
  consoleText = "";
  /** How often a VM was made, by idempotency key. */
  readonly activations: string[] = [];
  /** The next change is refused with this. */
  refusal: { readonly status: number; readonly code: string; readonly detail: string } | undefined;
  /** How long an activation takes. */
  activationMs = 0;
  readonly #page: string;
  readonly #server: Server;
  readonly #streams = new Set<ServerResponse>();
  readonly #events: DaemonEvent[] = [];
  readonly #byKey = new Map<string, VmView[]>();
  #lastId = 0;
  /** Far from the numbers that tests give their own. */
  #lastVm = 1000;
  #claims = 0;
  #ticking: NodeJS.Timeout | undefined;

  private constructor(page: string) {
    this.#page = page;
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        if (!response.headersSent) problem(response, 500, "INTERNAL", String(error));
      });
    });
  }

  static async start({ page, port = 0 }: PageDaemonOptions): Promise<PageDaemon> {
    const daemon = new PageDaemon(page);
    await daemon.listen(port);
    return daemon;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/`;
  }

  async listen(port: number): Promise<void> {
    this.#server.listen(port, "127.0.0.1");
    await once(this.#server, "listening");
    this.#ticking = setInterval(() => this.#tick(), 1000);
  }

  /** Ends every connection and listens no more, as a daemon that is killed. */
  async stop(): Promise<void> {
    clearInterval(this.#ticking);
    this.#streams.clear();
    this.#server.close();
    this.#server.closeAllConnections();
    if (this.#server.listening) await once(this.#server, "close");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Ends the event streams, which a client is to open again. */
  dropStreams(): void {
    for (const stream of this.#streams) stream.destroy();
    this.#streams.clear();
  }

  emit<Type extends EventType>(type: Type, data: Extract<DaemonEvent, { type: Type }>["data"]): void {
    this.#lastId += 1;
    const event = { id: `e${this.#lastId}`, type, at: new Date().toISOString(), data } as DaemonEvent;
    this.#events.push(event);
    if (this.#events.length > KEPT_EVENTS) this.#events.shift();
    for (const stream of this.#streams) send(stream, event);
  }

  activate({ count = 1, spec }: ActivateBody): VmView[] {
    return Array.from({ length: count }, () => {
      this.#lastVm += 1;
      const number = this.#lastVm;
      const hostname = typeof spec.hostname === "string" ? spec.hostname : `${spec.substrate.split("@")[0]}-{index}`;
      const vm = fakeVm(number, {
        hostname: hostname.replace("{index}", String(number)),
        labels: spec.labels ?? {},
        createdAt: new Date().toISOString(),
        expiresAt: spec.ttlMs === undefined ? null : new Date(Date.now() + spec.ttlMs).toISOString(),
      });
      this.vms.set(vm.id, vm);
      this.#claims += 1;
      this.emit("activated", { vm });
      return vm;
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? "/", "http://daemon");
    if (!pathname.startsWith("/v1")) return this.#file(pathname, response);
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1];
    if (token !== WRITE_TOKEN && token !== READ_TOKEN) {
      return problem(response, 401, "UNAUTHORIZED", "A token that is valid was expected.");
    }
    const [, , , id = "", verb] = pathname.split("/");
    const route = `${request.method} ${pathname.replace(id, id === "" ? "" : "ID")}`;
    if (request.method !== "GET") {
      if (token === READ_TOKEN) return problem(response, 403, "FORBIDDEN", "This token only reads.");
      const { refusal } = this;
      this.refusal = undefined;
      if (refusal !== undefined) return problem(response, refusal.status, refusal.code, refusal.detail);
    }
    switch (route) {
      case "GET /v1":
        return json(response, 200, this.#view(token === READ_TOKEN ? "read" : "write"));
      case "GET /v1/events":
        return this.#stream(request, response);
      case "GET /v1/stats":
        return json(response, 200, { seconds: this.seconds });
      case "GET /v1/docks":
        return json(response, 200, this.docks);
      case "GET /v1/substrates":
        return json(response, 200, this.substrates);
      case "GET /v1/operations":
        return json(response, 200, { items: this.operations });
      case "POST /v1/vms":
        return this.#post(request, response);
      case "GET /v1/vms/ID/console":
        return json(response, 200, { text: this.consoleText });
      case "GET /v1/vms/ID/memory":
        return json(response, 200, { pssBytes: 34_603_008, privateBytes: 21_233_664 });
      default:
        return this.#change(id, verb ?? request.method ?? "", response);
    }
  }

  #view(scope: "read" | "write") {
    const folder = "/var/lib/vm-substrate";
    const directories = { stateDir: folder, cacheDir: folder, runtimeDir: folder, sharedMemoryDir: "/dev/shm" };
    return { version: "0.1.0", api: "v1", pid: 1, startedAt: new Date().toISOString(), directories, scope };
  }

  async #post(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = JSON.parse(await textOf(request)) as ActivateBody;
    const key = String(request.headers["idempotency-key"]);
    if (this.activationMs > 0) await new Promise((resolve) => setTimeout(resolve, this.activationMs));
    let vms = this.#byKey.get(key);
    if (vms === undefined) {
      vms = this.activate(body);
      this.#byKey.set(key, vms);
      this.activations.push(key);
    }
    json(response, 201, { outcomes: vms.map((vm) => ({ vm })) });
  }

  /** Of one VM. */
  #change(id: string, verb: string, response: ServerResponse): void {
    const vm = this.vms.get(id);
    if (vm === undefined) {
      problem(response, 404, "NOT_FOUND", `There is no VM ${id}.`);
      return;
    }
    if (verb === "DELETE") {
      this.vms.delete(id);
      this.emit("released", { vm: { ...vm, state: "released" } });
    } else if (verb === "park" || verb === "resume") {
      const changed = { ...vm, state: verb === "park" ? ("parked" as const) : ("running" as const) };
      this.vms.set(id, changed);
      this.emit(verb === "park" ? "parked" : "resumed", { vm: changed });
    } else {
      problem(response, 404, "NOT_FOUND", "There is no such route.");
      return;
    }
    response.writeHead(204).end();
  }

  #stream(request: IncomingMessage, response: ServerResponse): void {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    const missed = this.#since(request.headers["last-event-id"]);
    if (missed === undefined) {
      const snapshot = { vms: [...this.vms.values()], docks: this.docks, memory: fakeMemory() };
      response.write(`id: e${this.#lastId}\nevent: snapshot\ndata: ${JSON.stringify(snapshot)}\n\n`);
    } else for (const event of missed) send(response, event);
    this.#streams.add(response);
    response.on("close", () => this.#streams.delete(response));
  }

  /** What came after an id; `undefined` when that is not known any more. */
  #since(id: string | string[] | undefined): DaemonEvent[] | undefined {
    if (id === `e${this.#lastId}`) return [];
    const at = this.#events.findIndex((event) => event.id === id);
    return at < 0 ? undefined : this.#events.slice(at + 1);
  }

  #tick(): void {
    const claims = this.#claims;
    this.#claims = 0;
    const second = fakeSecond(Math.floor(Date.now() / 1000), {
      claims,
      vms: this.vms.size,
      ...(claims > 0 ? { p50Ms: 9.2, p95Ms: 12.8, p99Ms: 14.1 } : {}),
    });
    this.seconds = [...this.seconds, second].slice(-600);
    for (const stream of this.#streams) {
      stream.write(`event: tick\ndata: ${JSON.stringify({ second, memory: fakeMemory() })}\n\n`);
    }
  }

  async #file(pathname: string, response: ServerResponse): Promise<void> {
    const name = pathname === "/" ? "index.html" : normalize(pathname);
    const content = await readFile(join(this.#page, name)).catch(() => undefined);
    if (content === undefined) return problem(response, 404, "NOT_FOUND", "There is no such file.");
    response.writeHead(200, {
      "content-type": TYPES[extname(name)] ?? "application/octet-stream",
      "content-security-policy": CONTENT_SECURITY_POLICY,
      "x-content-type-options": "nosniff",
    });
    response.end(content);
  }
}

function send(response: ServerResponse, { id, ...event }: DaemonEvent): void {
  response.write(`id: ${id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

function problem(response: ServerResponse, status: number, code: string, detail: string): void {
  response
    .writeHead(status, { "content-type": "application/problem+json" })
    .end(JSON.stringify({ type: `urn:vm-substrate:error:${code}`, title: code, status, detail, code }));
}

async function textOf(request: IncomingMessage): Promise<string> {
  return Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>)).toString();
}
