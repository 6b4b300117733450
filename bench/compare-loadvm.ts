import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { QmpClient } from "vm-substrate/qmp";
import { check } from "./context.ts";
import { Guest, type Identity, newIdentity } from "./guest.ts";
import { argvOn, type BootMachine, withoutKernel } from "./machine.ts";
import { copyImage, start, tool } from "./tools.ts";

const SNAPSHOT = "ready";
const SAVE_TIMEOUT_MS = 60_000;
const START_TIMEOUT_MS = 30_000;
const QEMU = "qemu-system-x86_64";

/** What the rounds of a copied VM are split into, in milliseconds. */
export interface CopiedRound {
  /** Of the image or disk that the VM then writes to. */
  readonly copyMs: number;
  /** Until the VM runs again. */
  readonly restoreMs: number;
  /** Until its identity was given and verified; 0 without. */
  readonly personaliseMs: number;
  /** Until the agent answered with the hostname. */
  readonly agentMs: number;
}

/** A guest with everything that vm-substrate does for one before it is frozen: ready, and each path run once. */
export async function warmGuest(guest: Guest, signal: AbortSignal): Promise<void> {
  await guest.awaitReady(signal);
  await guest.personalise(newIdentity(0));
  await guest.hostname(signal);
}

/** QEMU's own internal snapshot: saved once in an image, which is copied for each VM. */
export class LoadvmBaseline {
  readonly #machine: BootMachine;
  readonly #dir: string;
  readonly #signal: AbortSignal;

  private constructor(machine: BootMachine, dir: string, signal: AbortSignal) {
    this.#machine = machine;
    this.#dir = dir;
    this.#signal = signal;
  }

  static async prepare(machine: BootMachine, dir: string, signal: AbortSignal): Promise<LoadvmBaseline> {
    const baseline = new LoadvmBaseline(machine, dir, signal);
    const { disk, sockets } = baseline.#files;
    await tool(["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", machine.disk, disk], { signal });
    await using qemu = await start([QEMU, ...argvOn(machine, baseline.#files)], join(dir, "qemu.log"), {});
    await using guest = await Guest.connect(sockets, signal);
    await warmGuest(guest, signal);
    await using qmp = await QmpClient.connect(sockets.qmp, { signal });
    const monitor = { "command-line": `savevm ${SNAPSHOT}` };
    const said = await qmp.execute<string>("human-monitor-command", monitor, { signal, timeoutMs: SAVE_TIMEOUT_MS });
    check(said === "", `savevm says: ${said}`);
    await qmp.execute("quit", {}, { signal });
    await qemu.ended;
    await tool(["mv", disk, baseline.#image], { signal });
    return baseline;
  }

  /** One VM, from the copy of its image to its end. Without an identity it is one of many that are alike. */
  async round(identity: Identity | undefined): Promise<CopiedRound> {
    const { disk, sockets } = this.#files;
    const signal = this.#signal;
    const marks = [performance.now()];
    await copyImage(this.#image, disk, signal);
    marks.push(performance.now());
    const argv = [...withoutKernel(argvOn(this.#machine, this.#files)), "-loadvm", SNAPSHOT];
    await using owned = new AsyncDisposableStack();
    owned.use(await start([QEMU, ...argv], join(this.#dir, "qemu.log"), {}));
    await using qmp = await connectWhenPresent(sockets.qmp, signal);
    const { status } = await qmp.execute("query-status", {}, { signal });
    check(status === "running", `after -loadvm the VM is ${status}`);
    marks.push(performance.now());
    await using guest = await Guest.connect(sockets, signal);
    if (identity !== undefined) {
      await guest.personalise(identity);
      const [filter] = await qmp.execute("query-rx-filter", { name: "net0" }, { signal });
      check(filter?.["main-mac"] === identity.mac, `the NIC's MAC address is ${filter?.["main-mac"]}`);
    }
    marks.push(performance.now());
    const hostname = await guest.hostname(signal);
    marks.push(performance.now());
    check(hostname === (identity ?? newIdentity(0)).hostname, `the agent says that it is ${hostname}`);
    await rm(disk);
    return toRound(marks);
  }

  get #image() {
    return join(this.#dir, "saved.qcow2");
  }
  get #files() {
    const file = (name: string) => join(this.#dir, name);
    const sockets = { qmp: file("qmp"), agent: file("agent"), helper: file("helper") };
    return { name: "bench-loadvm", disk: file("disk.qcow2"), sockets };
  }
}

/** While it loads, QEMU listens and answers nobody: no attempt is given up for that, which would add a pause of ours. */
async function connectWhenPresent(path: string, signal: AbortSignal): Promise<QmpClient> {
  for (const startedAt = performance.now(); ; ) {
    try {
      return await QmpClient.connect(path, { timeoutMs: START_TIMEOUT_MS, signal });
    } catch (error) {
      signal.throwIfAborted();
      if (performance.now() - startedAt > START_TIMEOUT_MS) throw error;
      await delay(1, undefined, { signal });
    }
  }
}

export function toRound(marks: readonly number[]): CopiedRound {
  const [a = 0, b = 0, c = 0, d = 0, e = 0] = marks;
  return { copyMs: b - a, restoreMs: c - b, personaliseMs: d - c, agentMs: e - d };
}
