import type { FakePeer, FakeProtocol } from "./fake-line-server.ts";

/** A handler returns this to leave the command unanswered. */
export const NO_ANSWER = Symbol("no answer");

/** A handler throws this to answer with an error. */
export class FakeCommandError extends Error {
  readonly errorClass: string;

  constructor(desc: string, errorClass = "GenericError") {
    super(desc);
    this.errorClass = errorClass;
  }
}

export type FakeArguments = Readonly<Record<string, unknown>>;
/** Gives the value of `return`, NO_ANSWER, or throws FakeCommandError. The peer is for answers of another kind. */
type FakeCommand = (args: FakeArguments, peer: FakePeer, id: unknown) => unknown;
export type FakeCommands = Readonly<Record<string, FakeCommand>>;

interface FakeRequest {
  readonly command: string;
  readonly oob: boolean;
  readonly args: FakeArguments;
  readonly id: unknown;
}

function readRequest(text: string): FakeRequest | undefined {
  try {
    const request: unknown = JSON.parse(text);
    if (!isRecord(request)) return undefined;
    const command = request.execute ?? request["exec-oob"];
    if (typeof command !== "string") return undefined;
    const args = isRecord(request.arguments) ? request.arguments : {};
    return { command, oob: "exec-oob" in request, args, id: request.id };
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function message(value: unknown): string {
  return `${JSON.stringify(value)}\r\n`;
}

async function answer(peer: FakePeer, request: FakeRequest, handler: FakeCommand | undefined, end: string) {
  const { command, args, id } = request;
  try {
    if (!handler) throw new FakeCommandError(`The command ${command} has not been found`, "CommandNotFound");
    const value = await handler(args, peer, id);
    if (value !== NO_ANSWER) peer.send(message({ return: value, id }).trimEnd() + end);
  } catch (error) {
    const errorClass = error instanceof FakeCommandError ? error.errorClass : "GenericError";
    const desc = error instanceof Error ? error.message : "thrown";
    peer.send(message({ error: { class: errorClass, desc }, id }).trimEnd() + end);
  }
}

export interface FakeQmpOptions {
  /** Sent instead of the greeting; `undefined` in it stands for the usual one, null for nothing. */
  readonly greeting?: string | null;
  /** Capabilities offered. Default `["oob"]`. */
  readonly capabilities?: readonly string[];
  /** Added to, or instead of, those of `FakeVm`. */
  readonly commands?: FakeCommands;
  /** Sees every connection first, before the greeting. */
  readonly onOpen?: (peer: FakePeer) => void;
  /** Serve one connection and let the others wait, as QEMU does. Default false. */
  readonly oneAtATime?: boolean;
  /** Sends the greeting when it is a connection's turn, instead of `greeting`. */
  readonly greet?: (peer: FakePeer) => void;
}

const FAKE_VERSION = { qemu: { major: 7, minor: 2, micro: 22 }, package: "fake" };

/** A VM as its monitor shows it: a run state and the events of its changes. One for all connections. */
export class FakeQmp {
  readonly #options: FakeQmpOptions;
  readonly #peers = new Set<FakePeer>();
  readonly #waiting: FakePeer[] = [];
  readonly #negotiated = new Set<FakePeer>();
  running = false;
  /** Names of the commands received, in order. */
  readonly received: string[] = [];

  constructor(options: FakeQmpOptions = {}) {
    this.#options = options;
  }

  readonly protocol: FakeProtocol = (peer) => {
    this.#options.onOpen?.(peer);
    if (this.#options.oneAtATime && this.#peers.size > 0) this.#waiting.push(peer);
    else this.#serve(peer);
    return {
      onLine: (line) => {
        if (this.#peers.has(peer)) this.#onLine(peer, line);
      },
      onClose: () => {
        this.#peers.delete(peer);
        const next = this.#peers.size === 0 ? this.#waiting.shift() : undefined;
        if (next !== undefined) this.#serve(next);
      },
    };
  };

  #serve(peer: FakePeer): void {
    this.#peers.add(peer);
    const { capabilities = ["oob"], greet } = this.#options;
    const { greeting = message({ QMP: { version: FAKE_VERSION, capabilities } }) } = this.#options;
    if (greet !== undefined) greet(peer);
    else if (greeting !== null) peer.send(greeting);
  }

  /** Sends an event to everybody connected. */
  emit(event: string, data?: Readonly<Record<string, unknown>>): void {
    for (const peer of this.#peers) peer.send(eventLine(event, data));
  }

  /** Sends bytes as they are to everybody connected. */
  send(bytes: string | Uint8Array): void {
    for (const peer of this.#peers) peer.send(bytes);
  }

  #onLine(peer: FakePeer, line: Buffer): void {
    const request = readRequest(line.toString());
    if (!request) {
      peer.send(message({ error: { class: "GenericError", desc: "Invalid JSON syntax" } }));
      return;
    }
    this.received.push(request.command);
    void answer(peer, request, this.#handler(peer, request), "\r\n");
  }

  /** Negotiation comes first, and once, as in QEMU. */
  #handler(peer: FakePeer, request: FakeRequest): FakeCommand | undefined {
    const { command, oob } = request;
    const negotiates = command === "qmp_capabilities";
    if (negotiates && this.#negotiated.has(peer)) {
      return refuse("Capabilities negotiation is already complete, command ignored", "CommandNotFound");
    }
    if (!negotiates && !this.#negotiated.has(peer)) {
      return refuse("Expecting capabilities negotiation with 'qmp_capabilities'", "CommandNotFound");
    }
    this.#negotiated.add(peer);
    if (oob && !OOB_COMMANDS.has(command)) return refuse("The command does not support OOB");
    return this.#options.commands?.[command] ?? this.#commands[command];
  }

  #run(running: boolean): Record<string, never> {
    if (this.running !== running) this.emit(running ? "RESUME" : "STOP");
    this.running = running;
    return {};
  }

  readonly #commands: FakeCommands = {
    qmp_capabilities: () => ({}),
    "query-version": () => FAKE_VERSION,
    "query-status": () => ({
      running: this.running,
      singlestep: false,
      status: this.running ? "running" : "paused",
    }),
    "query-commands": () => Object.keys(this.#commands).map((name) => ({ name })),
    "query-memory-size-summary": () => ({ "base-memory": 128 * 1024 * 1024, "plugged-memory": 0 }),
    cont: () => this.#run(true),
    stop: () => this.#run(false),
    "migrate-pause": () => {
      throw new FakeCommandError("migrate-pause is currently only supported during postcopy-active state");
    },
    quit: (_args, peer, id) => {
      peer.send(message({ return: {}, id }));
      peer.send(eventLine("SHUTDOWN", { guest: false, reason: "host-qmp-quit" }));
      peer.end();
      return NO_ANSWER;
    },
  };
}

const OOB_COMMANDS = new Set(["migrate-pause"]);

function refuse(desc: string, errorClass?: string): FakeCommand {
  return () => {
    throw new FakeCommandError(desc, errorClass);
  };
}

export function eventLine(event: string, data?: Readonly<Record<string, unknown>>): string {
  return message({ timestamp: { seconds: 1_700_000_000, microseconds: 500_000 }, event, data });
}

/** The status of a program that has ended; `output` in base64. */
function exited(exitcode: number, output = ""): Record<string, unknown> {
  return { exited: true, exitcode, "out-data": output };
}

interface FakeProcess {
  readonly status: Record<string, unknown>;
}

/** A guest with an agent: files in memory, and the few programs that the conformance suite runs. */
export class FakeGuestAgent {
  readonly files = new Map<string, Buffer>();
  readonly received: string[] = [];
  readonly #overrides: FakeCommands;
  readonly #handles = new Map<number, { path: string; at: number }>();
  readonly #processes = new Map<number, FakeProcess>();
  #nextHandle = 1000;
  #nextPid = 300;

  constructor(commands: FakeCommands = {}) {
    this.#overrides = commands;
  }

  get openHandles(): number {
    return this.#handles.size;
  }

  /** Processes whose end nobody has collected. */
  get processes(): number {
    return this.#processes.size;
  }

  readonly protocol: FakeProtocol = (peer) => {
    // Answers in order, whatever the handlers do.
    let last: Promise<unknown> = Promise.resolve();
    return {
      onLine: (line) => {
        const sentinel = line.lastIndexOf(0xff);
        const request = readRequest(line.subarray(sentinel + 1).toString());
        if (!request) {
          peer.send('{"error": {"class": "GenericError", "desc": "Invalid JSON syntax"}}\n');
          return;
        }
        this.received.push(request.command);
        const handler = this.#overrides[request.command] ?? this.#commands[request.command];
        last = last.then(() => {
          // A command without an answer does not hold up the next one.
          const done = answer(peer, request, handler, "\n");
          return Promise.race([done, new Promise((resolve) => setImmediate(resolve))]);
        });
      },
    };
  };

  #start(args: FakeArguments): { pid: number } {
    const argv = [String(args.path), ...(Array.isArray(args.arg) ? args.arg.map(String) : [])];
    const input = typeof args["input-data"] === "string" ? args["input-data"] : "";
    const env = Array.isArray(args.env) ? args.env.map(String) : ["PATH=/bin"];
    const status = this.#outcome(argv, input, env);
    const pid = this.#nextPid++;
    this.#processes.set(pid, { status });
    return { pid };
  }

  #outcome(argv: readonly string[], input: string, env: readonly string[]): Record<string, unknown> {
    switch (argv[0]) {
      case "true":
        return exited(0);
      case "false":
        return exited(1);
      case "cat":
        return exited(0, input);
      case "env":
        return exited(0, Buffer.from(`${env.join("\n")}\n`).toString("base64"));
      case "sh":
        // The suite's one script: a shell that kills itself.
        return { exited: true, signal: 9 };
      case "sleep":
        return { exited: false };
      case "kill": {
        const victim = this.#processes.get(Number(argv[2]));
        if (victim) Object.assign(victim.status, { exited: true, signal: 9 });
        return exited(victim ? 0 : 1);
      }
      default:
        throw new FakeCommandError(`Failed to execute child process "${argv[0]}" (No such file or directory)`);
    }
  }

  #file(args: FakeArguments): { path: string; at: number } {
    const handle = this.#handles.get(Number(args.handle));
    if (!handle) throw new FakeCommandError(`handle '${String(args.handle)}' has not been found`);
    return handle;
  }

  #content(path: string): Buffer {
    return this.files.get(path) ?? Buffer.alloc(0);
  }

  readonly #commands: FakeCommands = {
    "guest-sync-delimited": (args, peer) => {
      peer.send(Uint8Array.of(0xff));
      peer.send(message({ return: args.id }));
      return NO_ANSWER;
    },
    "guest-ping": () => ({}),
    "guest-fsfreeze-freeze": () => 1,
    "guest-fsfreeze-thaw": () => 1,
    "guest-info": () => ({
      version: "7.2.22",
      supported_commands: Object.keys(this.#commands).map((name) => ({
        name,
        enabled: true,
        "success-response": name !== "guest-shutdown",
      })),
    }),
    "guest-get-host-name": () => ({ "host-name": "fake" }),
    "guest-get-time": () => 1_700_000_000_000_000_000,
    "guest-shutdown": () => NO_ANSWER,
    "guest-exec": (args) => this.#start(args),
    "guest-exec-status": (args) => {
      const process = this.#processes.get(Number(args.pid));
      if (!process) throw new FakeCommandError("Invalid parameter 'pid'");
      if (process.status.exited === true) this.#processes.delete(Number(args.pid));
      return process.status;
    },
    "guest-file-open": (args) => {
      const path = String(args.path);
      if (args.mode !== "w" && args.mode !== "a" && !this.files.has(path)) {
        throw new FakeCommandError(`failed to open file '${path}' (mode: 'r'): No such file or directory`);
      }
      if (args.mode === "w" || !this.files.has(path)) this.files.set(path, Buffer.alloc(0));
      this.#handles.set(this.#nextHandle, { path, at: 0 });
      return this.#nextHandle++;
    },
    "guest-file-read": (args) => {
      const handle = this.#file(args);
      const content = this.#content(handle.path);
      const piece = content.subarray(handle.at, handle.at + Number(args.count ?? 4096));
      handle.at += piece.length;
      return { count: piece.length, "buf-b64": piece.toString("base64"), eof: piece.length < Number(args.count) };
    },
    "guest-file-write": (args) => {
      const handle = this.#file(args);
      const piece = Buffer.from(String(args["buf-b64"]), "base64");
      this.files.set(handle.path, Buffer.concat([this.#content(handle.path), piece]));
      return { count: piece.length, eof: false };
    },
    "guest-file-flush": (args) => this.#file(args) && {},
    "guest-file-close": (args) => {
      this.#file(args);
      this.#handles.delete(Number(args.handle));
      return {};
    },
  };
}
