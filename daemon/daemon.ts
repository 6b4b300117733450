import { chmod, rm } from "node:fs/promises";
import type { Logger as PinoLogger } from "pino";
import { type DaemonPlace, daemonPlace } from "../lib/host/index.ts";
import { Pool, VmSubstrateError } from "../lib/index.ts";
import type { Entrance } from "./access.ts";
import { type Config, type ConfigInput, configOf } from "./config.ts";
import type { App, Context } from "./context.ts";
import { EventLog } from "./event-log.ts";
import { VmFinder } from "./find-vm.ts";
import { daemonLogger } from "./log.ts";
import { Metrics } from "./metrics.ts";
import { Operations } from "./operations.ts";
import { RequestsUnderWay } from "./requests-under-way.ts";
import { buildServer } from "./server.ts";
import { Stats } from "./stats.ts";
import { Tokens } from "./tokens.ts";
import { watchPool } from "./watch-pool.ts";

/** How long work that is under way may take to end when the daemon stops. */
const DRAIN_MS = 10_000;
/** For answers to work that was cancelled after that. */
const LAST_WORD_MS = 1000;

/** The owner of a state directory that others use over HTTP. VMs outlive it. */
export class Daemon implements AsyncDisposable {
  readonly place: DaemonPlace;
  /** Where it listens over TCP: "http://127.0.0.1:7070". */
  readonly url: string | undefined;
  readonly #owned: AsyncDisposableStack;
  #stopped: Promise<void> | undefined;

  private constructor(place: DaemonPlace, url: string | undefined, owned: AsyncDisposableStack) {
    this.place = place;
    this.url = url;
    this.#owned = owned;
  }

  /**
   * Opens the state directory, takes its VMs over, sets its docks, and listens.
   * @throws VmSubstrateError as `Pool.open`, INVALID_ARGUMENT, HOST_IO_FAILED when an address is taken
   */
  static async start(input: ConfigInput = {}): Promise<Daemon> {
    const config = configOf(input);
    await using undo = new AsyncDisposableStack();
    const logger = daemonLogger(config.log, undo);
    const place = await daemonPlace(config);
    const { pool, ...context } = await openContext(config, place, logger, undo);
    const common = { logger, requestsPerSecond: config.listen.requestsPerSecond };
    const serve = async (entrance: Entrance) => {
      const server = await buildServer({ pool, ...context }, { ...common, entrance });
      undo.defer(() => server.close());
      return server;
    };
    const url = config.listen.tcp === undefined ? undefined : await listenTcp(config, place, serve);
    context.listening.url = url ?? null;
    await listenSocket(await serve({ kind: "socket" }), place.socket);
    undo.defer(() => drain(context));
    undo.defer(() => context.close());
    logger.info({ socket: place.socket, url, vms: pool.vms.length }, "the daemon listens");
    return new Daemon(place, url, undo.move());
  }

  /** Lets work that is under way end, for a while, then ends; VMs go on running. Idempotent. */
  stop(): Promise<void> {
    this.#stopped ??= this.#owned.disposeAsync();
    return this.#stopped;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** Operations first, then the answers that tell of them. */
async function drain({ operations, requests }: Pick<Context, "operations" | "requests">): Promise<void> {
  const startedAt = performance.now();
  await operations.drain(DRAIN_MS);
  await requests.over(Math.max(LAST_WORD_MS, DRAIN_MS - (performance.now() - startedAt)));
}

async function openContext(config: Config, place: DaemonPlace, logger: PinoLogger, undo: AsyncDisposableStack) {
  const { listen: _listen, log: _log, docks, ...options } = config;
  const pool = await Pool.open({ ...options, logger, docks: "restore" });
  undo.defer(() => pool.close({ vms: "keep" }));
  const events = new EventLog();
  const closing = new AbortController();
  const stats = undo.use(new Stats(pool));
  const metrics = new Metrics(pool);
  watchPool(pool, events, stats, metrics);
  const setDock = async (substrate: string) => {
    await pool.dock(substrate, docks[substrate] ?? {}).catch((error: unknown) => {
      logger.error({ substrate, err: error }, "a dock of the configuration could not be set");
    });
  };
  for (const substrate of Object.keys(docks)) await setDock(substrate);
  // Of a substrate that was not there when the daemon started. A dock that is there is whoever's changed it last.
  pool.events.on("built", ({ name, version }) => {
    for (const substrate of [name, `${name}@latest`, `${name}@${version}`]) {
      const isSet = pool.docks.some((dock) => dock.substrate === name && dock.pinned === /@\d/.test(substrate));
      if (Object.hasOwn(docks, substrate) && !isSet && !closing.signal.aborted) void setDock(substrate);
    }
  });
  // What it brings may be large, and is asked for by whoever wants it.
  const operations = new Operations((operation) => {
    events.add("operation", { operation: { ...operation.view(), result: null } });
  });
  const context = {
    pool,
    place,
    startedAt: new Date(),
    listening: { url: null as string | null },
    qemu: config.qemu,
    operations,
    requests: new RequestsUnderWay(),
    events,
    stats,
    metrics,
    vms: new VmFinder(pool),
    closing: closing.signal,
  } satisfies Context;
  return { ...context, close: () => closing.abort() };
}

async function listenSocket(server: App, socket: string): Promise<void> {
  // Only the owner of the state directory gets here: whoever made it is gone.
  await rm(socket, { force: true });
  await listen(server, { path: socket });
  await chmod(socket, 0o600); // its folder is 0700 all along
}

async function listenTcp(
  { listen: { tcp = "", tokenFile, hosts } }: Config,
  place: DaemonPlace,
  serve: (entrance: Entrance) => Promise<App>,
): Promise<string> {
  const [, host = "", port = ""] = /^(.*):(\d+)$/.exec(tcp) ?? [];
  const tokens = await Tokens.load(tokenFile ?? place.tokens);
  const allowed = new Set(hosts);
  const server = await serve({ kind: "tcp", tokens, hosts: allowed });
  await listen(server, { host: host.replace(/^\[|\]$/g, ""), port: Number(port) });
  const bound = server.server.address();
  const actual = typeof bound === "object" && bound !== null ? bound.port : Number(port);
  // By number as soon as it listens: port 0 stands for any.
  for (const name of [host.toLowerCase(), "localhost", "127.0.0.1", "[::1]"]) allowed.add(`${name}:${actual}`);
  return `http://${host}:${actual}`;
}

async function listen(server: App, at: { readonly path: string } | { readonly host: string; readonly port: number }) {
  try {
    await server.listen(at);
  } catch (cause) {
    const place = "path" in at ? at.path : `${at.host}:${at.port}`;
    const message = `cannot listen on ${place}: ${cause instanceof Error ? cause.message : String(cause)}`;
    throw new VmSubstrateError("HOST_IO_FAILED", message, { cause });
  }
}
