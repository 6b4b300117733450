/**
 * A program that looks like QEMU to lib/host and lib/clone: its argv, its sockets, its monitor, and a guest with the
 * helper and the agent. It boots nothing. `FakeQemu` of fake-qemu-control.ts makes the executable that starts it as
 * `node fake-qemu.ts CONTROL_SOCKET ...argv of QEMU`; the test at the other end of that socket sees every step and says
 * what goes wrong. Without its test it ends, so that none is left over.
 */
import { closeSync, existsSync, ftruncateSync, openSync, readSync, statSync, writeSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { createConnection, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { FakeBlockNodes, type FakeDisk } from "./fake-block-nodes.ts";
import { type FakePeer, type FakeProtocol, FakeServer } from "./fake-line-server.ts";
import { FakeMemoryModules } from "./fake-memory-modules.ts";
import { FakeGuest } from "./fake-qemu-guest.ts";
import type { FakeOrder, FakeReport, FakeScript, FakeStep } from "./fake-qemu-script.ts";
import { type FakeArguments, FakeCommandError, type FakeCommands, FakeQmp } from "./fake-qmp-server.ts";
import { FakeSerialPorts } from "./fake-serial-port.ts";
import { fakeStream } from "./fake-stream.ts";

const VERSION = { qemu: { major: 7, minor: 2, micro: 22 }, package: "fake" };
const GREETING = `${JSON.stringify({ QMP: { version: VERSION, capabilities: ["oob"] } })}\r\n`;
const SAVED_STATE = Buffer.from("QEVM fake device state\n");

/** Long enough to be seen as two events, and shorter than lib/host waits for the second. */
const HANG_UP_MS = 20;

function quit(message: string): never {
  process.stderr.write(`qemu-system-x86_64: ${message}\n`);
  process.exit(1);
}

/** The test at the other end. */
class Control {
  /** One object for all who look at it, whatever it says. */
  readonly script: FakeScript;
  readonly #socket: Socket;
  readonly #held = new Map<FakeStep, () => void>();

  private constructor(socket: Socket, script: FakeScript) {
    this.#socket = socket;
    this.script = script;
  }

  static async connect(path: string, argv: readonly string[]): Promise<Control> {
    const socket = createConnection(path);
    socket.on("error", () => process.exit(1));
    socket.on("close", () => process.exit(1));
    const { promise, resolve } = Promise.withResolvers<Control>();
    let control: Control | undefined;
    createInterface(socket).on("line", (line) => {
      const order: FakeOrder = JSON.parse(line);
      if ("pass" in order) control?.pass(order.pass);
      else if (control !== undefined) control.follow(order.script);
      else {
        control = new Control(socket, order.script);
        resolve(control);
      }
    });
    socket.write(`${JSON.stringify({ pid: process.pid, argv } satisfies FakeReport)}\n`);
    return promise;
  }

  follow(script: FakeScript): void {
    for (const name of Object.keys(this.script)) Reflect.deleteProperty(this.script, name);
    Object.assign(this.script, script);
    this.#socket.write(`${JSON.stringify({ follows: true } satisfies FakeReport)}\n`);
  }

  pass(step: FakeStep): void {
    this.#held.get(step)?.();
  }

  /** Reports a step, and does there what the script wants. */
  async reach(step: FakeStep, args: Readonly<Record<string, unknown>> = {}): Promise<void> {
    this.#socket.write(`${JSON.stringify({ step, args } satisfies FakeReport)}\n`);
    switch (this.script.at?.[step]) {
      case "die":
        return quit(`the script ends me at ${step}`);
      case "fail":
        throw new FakeCommandError(`the script fails ${step}`);
      case "hold":
        await new Promise<void>((resolve) => this.#held.set(step, resolve));
    }
  }
}

/** The parts of argv that matter here. */
class Argv {
  readonly #args: readonly string[];

  constructor(args: readonly string[]) {
    this.#args = args;
  }

  all(option: string): string[] {
    return this.#args.filter((_, i) => this.#args[i - 1] === option);
  }

  json(option: string): Record<string, unknown> {
    const [text] = this.all(option);
    return text === undefined ? quit(`${option} is missing`) : JSON.parse(text);
  }

  /** `socket,id=...,path=...`, with doubled commas. */
  socket(id: string): string {
    for (const text of this.all("-chardev")) {
      const options = text.split(/(?<!,),(?!,)/).map((part) => part.replaceAll(",,", ","));
      if (options.includes(`id=${id}`)) return options.find((part) => part.startsWith("path="))?.slice(5) ?? "";
    }
    return quit(`there is no chardev ${id}`);
  }
}

/** What QEMU itself refuses: RAM of another size. */
function openFiles(argv: Argv): void {
  const { "mem-path": ram, size, share } = argv.json("-object");
  if (share === true) {
    const file = openSync(String(ram), "w+", 0o600);
    ftruncateSync(file, Number(size));
    writeSync(file, Buffer.alloc(4096, 0xa5), 0, 4096, 8 * 4096);
    closeSync(file);
  } else if (!existsSync(String(ram)) || statSync(String(ram)).size !== size) {
    quit(`can't open backing store ${String(ram)} for guest RAM`);
  }
}

/** As QEMU, which opens all that is below as well. */
function diskOf(argv: Argv, control: Control): FakeBlockNodes {
  try {
    return new FakeBlockNodes(argv.json("-blockdev") as unknown as FakeDisk, (...step) => control.reach(...step));
  } catch (error) {
    return quit(error instanceof Error ? error.message : "no disk");
  }
}

function maxCpusOf(argv: Argv): number {
  return Number(/maxcpus=(\d+)/.exec(argv.all("-smp").join())?.[1] ?? 1);
}

class Machine {
  readonly #control: Control;
  readonly #guest: FakeGuest;
  readonly #qmp: FakeQmp;
  readonly #ports: FakeSerialPorts;
  #runs = Promise.withResolvers<void>();
  #status: string;
  #migrated = "none";
  readonly #maxCpus: number;
  #capabilities = new Map<string, boolean>();
  readonly #disk: FakeBlockNodes;
  #switchOver: (() => void) | undefined;
  /** How much of its console was read: QEMU forgets what it gives. */
  #consoleRead = 0;

  readonly #ramBytes: number;

  constructor(control: Control, argv: Argv, maxCpus: number) {
    const incoming = argv.all("-incoming").length > 0;
    this.#control = control;
    this.#disk = diskOf(argv, control);
    this.#maxCpus = maxCpus;
    this.#ramBytes = Number(argv.json("-object").size);
    this.#guest = new FakeGuest(control.script);
    const { resources } = this.#guest.helper;
    resources.diskBytes = this.#disk.sizeBytes;
    resources.memory = new FakeMemoryModules(1, control.script, (...step) => control.reach(...step));
    this.#ports = new FakeSerialPorts(
      control.script,
      (...step) => control.reach(...step),
      () => this.#runs.promise,
    );
    this.#guest.carry = async () => {
      await control.reach("carry");
      return control.script.carrier === "broken" ? 1 : this.#ports.carry();
    };
    this.#status = incoming ? "inmigrate" : "running";
    const greet = (peer: FakePeer) => void this.#control.reach("greeting").then(() => peer.send(GREETING));
    this.#qmp = new FakeQmp({ greet, commands: this.#commands, oneAtATime: true });
    if (!incoming) this.#run();
  }

  async listen(argv: Argv): Promise<void> {
    // The monitor last: whoever is greeted finds all three.
    await FakeServer.listen(this.#helper, argv.socket("helper0"));
    await FakeServer.listen(this.#agent, argv.socket("agent0"));
    await FakeServer.listen(this.#qmp.protocol, argv.socket("qmp0"));
  }

  #run(): void {
    if (this.#status === "paused" && this.#qmp.received.includes("stop")) this.#guest.helper.wasPaused();
    this.#status = "running";
    this.#qmp.running = true;
    this.#runs.resolve();
  }

  /** A guest that does not run reads nothing: lines wait in its port. */
  readonly #agent: FakeProtocol = (peer) => {
    const conversation = this.#guest.agent.protocol(peer);
    let last: Promise<unknown> = Promise.resolve();
    return {
      onLine: (line) => {
        if (this.#control.script.at?.agent === "hang-up") {
          peer.destroy();
          setTimeout(() => quit("the script ends me after hanging up"), HANG_UP_MS);
          return;
        }
        last = last
          .then(() => this.#runs.promise)
          .then(() => this.#control.reach("agent"))
          .then(() => this.#runs.promise)
          .then(() => conversation.onLine(line));
      },
    };
  };

  readonly #helper: FakeProtocol = (peer) => {
    let last: Promise<unknown> = Promise.resolve();
    return {
      onLine: (bytes) => {
        const line = bytes.toString("latin1");
        last = last.then(async () => {
          await this.#runs.promise;
          try {
            if (line.includes(" mac=")) await this.#control.reach("personalise", { request: line });
            peer.send(this.#guest.helper.serve(line));
          } catch {
            peer.send(`${line.split(" ")[0]} error mac 5\n`);
          }
        });
      },
    };
  };

  async #load(fd: number): Promise<void> {
    const stream = Buffer.alloc(64);
    const bytes = readSync(fd, stream, 0, stream.length, null);
    if (bytes === 0) return; // as QEMU: an empty stream leaves it in inmigrate for ever
    await this.#control.reach("load");
    if (!stream.subarray(0, 4).equals(SAVED_STATE.subarray(0, 4))) quit("load of migration failed: Invalid argument");
    this.#status = "paused";
  }

  #save(path: string): void {
    this.#migrated = "active";
    const socket = createConnection(path);
    socket.on("error", () => (this.#migrated = "failed"));
    if (this.#capabilities.get("pause-before-switchover") !== true) {
      socket.end(SAVED_STATE, () => (this.#migrated = "completed"));
      return;
    }
    // Memory in private pages goes through the stream; the guest stands still before its end.
    const pages = [0xa5, 0, 0xa6].map((fill, i) => ({ block: "ram0", address: i * 4096, fill }));
    const stream = fakeStream({ ram0: this.#ramBytes }, [pages, [{ block: "ram0", address: 4096, fill: 0xa7 }]]);
    const half = stream.length / 2;
    socket.write(stream.subarray(0, half));
    this.#pause();
    this.#migrated = "pre-switchover";
    this.#switchOver = () => socket.end(stream.subarray(half), () => (this.#migrated = "completed"));
  }

  #pause(): void {
    if (this.#status === "running") this.#runs = Promise.withResolvers<void>();
    this.#status = "paused";
  }

  /** QEMU lists places from the last to the first. */
  #cpuPlaces() {
    const { cpus } = this.#guest.helper.resources;
    const places = Array.from({ length: this.#maxCpus }, (_, core) => ({
      type: "fake-x86_64-cpu",
      "vcpus-count": 1,
      props: { "socket-id": 0, "core-id": core, "thread-id": 0 },
      ...(core < cpus ? { "qom-path": `/machine/cpu${core}` } : {}),
    }));
    return places.toReversed();
  }

  async #addDevice(args: FakeArguments) {
    const { resources } = this.#guest.helper;
    if (args.driver === "fake-x86_64-cpu") {
      await this.#control.reach("add-cpu", args);
      if (args["core-id"] !== resources.cpus) throw new FakeCommandError("CPU is there already, or out of order");
      resources.cpus++;
      return {};
    }
    if (args.driver === "virtserialport") {
      await this.#ports.plug(args);
      return {};
    }
    await resources.memory.plug(args);
    return {};
  }

  get #commands(): FakeCommands {
    const { helper } = this.#guest;
    const { device_del: unplugPort } = this.#ports.commands;
    return {
      ...this.#ports.commands,
      ...helper.resources.memory.commands,
      ...this.#disk.commands,
      "query-hotpluggable-cpus": () => this.#cpuPlaces(),
      device_add: (args) => this.#addDevice(args),
      device_del: async (args, ...rest) => {
        const { memory } = helper.resources;
        if (!memory.has(String(args.id))) return unplugPort?.(args, ...rest);
        await memory.unplug(String(args.id));
        return {};
      },
      block_resize: async (args) => {
        await this.#control.reach("resize-disk", args);
        if (args["node-name"] !== "disk0") throw new FakeCommandError("no such node");
        helper.resources.diskBytes = Number(args.size);
        return {};
      },
      "query-status": () => {
        if (this.#status === "running" && this.#control.script.diskIsFull === true) {
          this.#pause();
          this.#status = "io-error";
        }
        return { running: this.#status === "running", singlestep: false, status: this.#status };
      },
      "migrate-set-capabilities": ({ capabilities }) => {
        for (const { capability, state } of capabilities as { capability: string; state: boolean }[])
          this.#capabilities.set(capability, state);
        return {};
      },
      "migrate-continue": async () => {
        await this.#control.reach("switchover");
        this.#switchOver?.();
        return {};
      },
      migrate_cancel: () => {
        this.#migrated = "cancelled";
        return {};
      },
      "migrate-set-parameters": () => ({}),
      "migrate-incoming": async ({ uri }) => {
        await this.#control.reach("incoming");
        void this.#load(Number(String(uri).slice("fd:".length)));
        return {};
      },
      cont: async () => {
        await this.#control.reach("cont");
        this.#run();
        setImmediate(() => void this.#control.reach("running"));
        return {};
      },
      stop: async () => {
        await this.#control.reach("stop");
        this.#pause();
        return {};
      },
      netdev_add: async (args) => {
        await this.#control.reach(args.type === "hubport" ? "plug" : "join", args);
        return {};
      },
      "query-rx-filter": async ({ name }) => {
        await this.#control.reach("rx-filter");
        return [{ name, "main-mac": this.#control.script.rxFilterMac ?? helper.mac.toUpperCase() }];
      },
      migrate: async ({ uri }) => {
        await this.#control.reach("migrate");
        this.#save(String(uri).slice("unix:".length));
        return {};
      },
      "query-migrate": () => ({ status: this.#migrated }),
      "ringbuf-read": async ({ size, format }) => {
        await this.#control.reach("console");
        const said = Buffer.from(this.#control.script.console ?? "fake console: ready\n", "latin1");
        const bytes = said.subarray(this.#consoleRead, this.#consoleRead + Number(size));
        this.#consoleRead += bytes.length;
        return bytes.toString(format === "base64" ? "base64" : "utf8");
      },
    };
  }
}

const [controlSocket = "", ...args] = process.argv.slice(2);
const control = await Control.connect(controlSocket, args);
process.on("SIGTERM", () => {
  if (!control.script.ignoreSigterm) process.exit(0);
});
const argv = new Argv(args);
await control.reach("start");
openFiles(argv);
await new Machine(control, argv, maxCpusOf(argv)).listen(argv);
// Now, because a clone is mostly ended by SIGKILL: with it the next one starts in a third of the time.
flushCompileCache();
