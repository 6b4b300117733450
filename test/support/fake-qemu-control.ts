import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { FakeOrder, FakeReport, FakeScript, FakeStep } from "./fake-qemu-script.ts";

/** What `--version` says, as lib/host reads it. */
export const FAKE_QEMU = { version: "7.2.22", build: "7.2.22 (Debian 1:7.2+fake)" } as const;

const PROGRAM = fileURLToPath(new URL("./fake-qemu.ts", import.meta.url));
const COMPILE_CACHE = join(import.meta.dirname, "../../node_modules/.cache/fake-qemu");

/** One started fake VM, as its test sees it. */
export class FakeVm {
  readonly pid: number;
  readonly argv: readonly string[];
  /** Steps that it got to, in order. */
  readonly steps: FakeStep[] = [];
  /** The arguments of each `netdev_add`. */
  readonly networks: Readonly<Record<string, unknown>>[] = [];
  /** What its helper was asked that concerns its identity. */
  readonly requests: string[] = [];
  readonly #socket: Socket;
  #onFollows: (() => void) | undefined;

  constructor(pid: number, argv: readonly string[], socket: Socket) {
    this.pid = pid;
    this.argv = argv;
    this.#socket = socket;
  }

  /** Lets it go on from a step at which its script holds it. */
  pass(step: FakeStep): void {
    this.order({ pass: step });
  }

  /** Replaces its script; resolves when that is in force. */
  async follow(script: FakeScript): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onFollows = resolve;
    this.order({ script });
    await promise;
  }

  follows(): void {
    this.#onFollows?.();
  }

  order(order: FakeOrder): void {
    this.#socket.write(`${JSON.stringify(order)}\n`);
  }
}

interface Waiter {
  readonly step: FakeStep;
  readonly vm: number | undefined;
  readonly resolve: (vm: FakeVm) => void;
}

/** An executable that stands in for QEMU, and the control over every process that is started from it. */
export class FakeQemu implements AsyncDisposable {
  /** For `Pool.open({ qemu })`. */
  readonly path: string;
  /** What goes wrong in the n-th VM that is started, counted from 0. */
  script: (vm: number) => FakeScript = () => ({});
  /** In the order in which they were started. */
  readonly vms: FakeVm[] = [];
  readonly #dir: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #waiters = new Set<Waiter>();

  private constructor(dir: string) {
    this.#dir = dir;
    this.path = join(dir, "qemu");
    this.#server = createServer((socket) => this.#serve(socket));
  }

  static async create(versionLine = `QEMU emulator version ${FAKE_QEMU.build}`): Promise<FakeQemu> {
    const fake = new FakeQemu(await mkdtemp(join(tmpdir(), "fake-qemu-")));
    const control = join(fake.#dir, "control");
    const lines = [
      "#!/bin/sh",
      `[ "$1" = --version ] && { echo '${versionLine}'; exit 0; }`,
      `export NODE_COMPILE_CACHE='${COMPILE_CACHE}'`,
      `exec '${process.execPath}' --disable-warning=ExperimentalWarning '${PROGRAM}' '${control}' "$@"`,
    ];
    await writeFile(fake.path, `${lines.join("\n")}\n`);
    await chmod(fake.path, 0o755);
    await new Promise<void>((resolve) => fake.#server.listen(control, resolve));
    return fake;
  }

  /** Resolves when a VM (any, or the n-th) gets to a step, at once when it has been there. */
  reached(step: FakeStep, vm?: number): Promise<FakeVm> {
    const there = this.vms.find((candidate, i) => (vm === undefined || vm === i) && candidate.steps.includes(step));
    if (there !== undefined) return Promise.resolve(there);
    return new Promise((resolve) => this.#waiters.add({ step, vm, resolve }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy(); // a fake VM ends with its control
    await new Promise((resolve) => this.#server.close(resolve));
    await rm(this.#dir, { recursive: true, force: true });
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
    let vm: FakeVm | undefined;
    createInterface(socket)
      .on("line", (line) => {
        const report: FakeReport = JSON.parse(line);
        if ("pid" in report) {
          vm = new FakeVm(report.pid, report.argv, socket);
          const index = this.vms.push(vm) - 1;
          vm.order({ script: this.script(index) });
        } else if ("follows" in report) {
          vm?.follows();
        } else if (vm !== undefined) {
          if (report.step === "join" || report.step === "plug") vm.networks.push(report.args ?? {});
          if (report.step === "personalise") vm.requests.push(String(report.args?.request));
          this.#arrived(vm, report.step);
        }
      })
      .on("error", () => {});
  }

  #arrived(vm: FakeVm, step: FakeStep): void {
    vm.steps.push(step);
    for (const waiter of this.#waiters) {
      if (waiter.step !== step || (waiter.vm !== undefined && this.vms[waiter.vm] !== vm)) continue;
      this.#waiters.delete(waiter);
      waiter.resolve(vm);
    }
  }
}
