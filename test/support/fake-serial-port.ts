import { createServer, type Server, type Socket } from "node:net";
import { FakeCarrier } from "./fake-carrier.ts";
import type { FakeScript, FakeStep } from "./fake-qemu-script.ts";
import { type FakeArguments, FakeCommandError, type FakeCommands } from "./fake-qmp-server.ts";

type Reach = (step: FakeStep, args?: FakeArguments) => Promise<void>;

interface BackEnd {
  readonly server: Server;
  readonly sockets: Set<Socket>;
}

/** Ports that are plugged into a fake VM while it runs, and what the guest's program does with one. */
export class FakeSerialPorts {
  readonly #script: FakeScript;
  readonly #reach: Reach;
  readonly #runs: () => Promise<void>;
  readonly #backEnds = new Map<string, BackEnd>();
  /** Ids of back ends, by those of ports. */
  readonly #ports = new Map<string, string>();
  #isCarried = false;
  #last: Promise<unknown> = Promise.resolve();

  constructor(script: FakeScript, reach: Reach, runs: () => Promise<void>) {
    this.#script = script;
    this.#reach = reach;
    this.#runs = runs;
  }

  /** The program was started in the guest. @returns its status */
  carry(): number {
    if (this.#ports.size === 0) return 1;
    this.#isCarried = true;
    for (const { sockets } of this.#backEnds.values()) for (const socket of sockets) this.#serve(socket);
    return 0;
  }

  /** @throws FakeCommandError as QEMU of a port that there is already */
  plug(args: FakeArguments): Promise<unknown> {
    return this.#inOrder(() => this.#plug(args));
  }

  /** As QEMU works: a command that was sent later, also after the first was given up on, finds it done. */
  #inOrder(work: () => unknown): Promise<unknown> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  get commands(): FakeCommands {
    return Object.fromEntries(
      Object.entries(this.#commands).map(([name, work]) => [
        name,
        (...given: Parameters<typeof work>) => this.#inOrder(() => work(...given)),
      ]),
    );
  }

  async #plug(args: FakeArguments): Promise<void> {
    await this.#reach("add-port", args);
    const [id, backEnd] = [String(args.id), String(args.chardev)];
    if (!this.#backEnds.has(backEnd)) throw new FakeCommandError(`Property can't find value '${backEnd}'`);
    if (this.#ports.size > 0) throw new FakeCommandError("Out-of-range port id specified, max. allowed: 3");
    this.#ports.set(id, backEnd);
  }

  readonly #commands: FakeCommands = {
    "chardev-add": async (args) => {
      await this.#reach("add-chardev", args);
      const { backend } = args as { backend: { data: { addr: { data: { path: string } } } } };
      const sockets = new Set<Socket>();
      const server = createServer((socket) => {
        sockets.add(socket);
        socket.on("error", () => {});
        socket.on("close", () => {
          sockets.delete(socket);
          this.#isCarried = false; // the guest's program ends with the host's connection
        });
        if (this.#isCarried) this.#serve(socket);
      });
      await new Promise<void>((resolve) => server.listen(backend.data.addr.data.path, resolve));
      this.#backEnds.set(String(args.id), { server, sockets });
      return {};
    },
    "chardev-remove": async ({ id }) => {
      await this.#reach("remove-chardev");
      const backEnd = this.#backEnds.get(String(id));
      if (backEnd === undefined) throw new FakeCommandError(`Chardev '${String(id)}' not found`);
      if ([...this.#ports.values()].includes(String(id))) throw new FakeCommandError(`Chardev '${String(id)}' is busy`);
      this.#backEnds.delete(String(id));
      for (const socket of backEnd.sockets) socket.destroy();
      backEnd.server.close();
      return {};
    },
    "query-chardev": () =>
      [...this.#backEnds.keys()].map((label) => ({
        label,
        filename: "disconnected:unix",
        "frontend-open": this.#isCarried && this.#script.carrier !== "gone",
      })),
    device_del: async ({ id }) => {
      await this.#reach("remove-port");
      if (!this.#ports.delete(String(id)))
        throw new FakeCommandError(`Device '${String(id)}' not found`, "DeviceNotFound");
      this.#isCarried = false;
      return {};
    },
  };

  #serve(socket: Socket): void {
    const carrier = new FakeCarrier((bytes) => void (socket.writable && socket.write(bytes)), this.#script);
    let last: Promise<unknown> = Promise.resolve();
    socket.on("data", (chunk: Buffer) => {
      last = last
        .then(() => this.#runs())
        .then(() => this.#reach("session"))
        .then(() => carrier.take(chunk))
        .catch(() => socket.destroy());
    });
  }
}
