import { beforeEach, describe, expect, it, vi } from "vitest";
import { MIB, silentLogger, VmSubstrateError } from "../../lib/core/index.ts";
import type { ExitCause } from "../../lib/host/index.ts";
import { HostnamePattern, Network } from "../../lib/netcfg/index.ts";
import { Breaker } from "../../lib/pool/breaker.ts";
import { Dock, type Docked } from "../../lib/pool/dock.ts";
import type { DockTarget } from "../../lib/pool/dock-target.ts";
import { identityTemplate } from "../../lib/pool/identity-template.ts";
import type { LoadedSubstrate } from "../../lib/substrate/index.ts";

/** Pauses that the dock makes. They end when the test says so. */
const pauses: { readonly ms: number; readonly end: () => void }[] = [];
vi.mock("node:timers/promises", () => ({
  setTimeout: (ms: number, _value: unknown, { signal }: { signal: AbortSignal }) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    if (ms === 0) resolve();
    else pauses.push({ ms, end: resolve });
    signal.addEventListener("abort", () => reject(signal.reason as Error));
    return promise;
  },
}));
beforeEach(() => {
  pauses.length = 0;
});

const template = identityTemplate(
  HostnamePattern.parse("fake-{index}"),
  Network.parse({ subnet: "10.77.0.0/16" }),
  "none",
);
// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a dock passes it on, and shows its name
const SUBSTRATE = { manifest: { name: "fake", version: 1 } } as LoadedSubstrate;

/** A dock whose clones are made when the test says so. */
class Lab implements AsyncDisposable {
  readonly starts: PromiseWithResolvers<Docked>[] = [];
  readonly ended: string[] = [];
  readonly dock: Dock;
  meanMiB: number | undefined;
  #clones = 0;

  constructor(target: Partial<DockTarget>, parallelStarts = 1) {
    const whole: DockTarget = {
      min: 1,
      max: target.min ?? 1,
      maxMiB: undefined,
      primed: true,
      pinned: false,
      template,
      ...target,
    };
    this.dock = new Dock(SUBSTRATE, whole, {
      start: (_substrate, _target, signal) => {
        const start = Promise.withResolvers<Docked>();
        signal.addEventListener("abort", () => start.reject(signal.reason as Error));
        this.starts.push(start);
        return start.promise;
      },
      idle: () => Promise.resolve(),
      meanBytes: (ids) => (ids.length === 0 || this.meanMiB === undefined ? undefined : this.meanMiB * MIB),
      parallelStarts,
      logger: silentLogger,
      onChange: () => {},
    });
  }

  get status() {
    return this.dock.status;
  }

  /** The start that is under way comes to its end. */
  async succeed(): Promise<void> {
    const start = await this.#under();
    const id = `clone${this.#clones++}`;
    const exited = new Promise<ExitCause>(() => {});
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what a dock looks at
    const clone = { plan: { id }, clone: { instance: { process: { exited } } } } as Docked["clone"];
    const end = async () => void this.ended.push(id);
    start.resolve({ clone, templateKey: template.key, [Symbol.asyncDispose]: end });
    await settle();
  }

  async fail(code: "QEMU_EXITED" | "INSUFFICIENT_MEMORY" = "QEMU_EXITED"): Promise<void> {
    (await this.#under()).reject(new VmSubstrateError(code, `start ${this.starts.length} failed`));
    await settle();
  }

  async #under(): Promise<PromiseWithResolvers<Docked>> {
    pauses.shift()?.end();
    await settle();
    const start = this.starts.at(-1);
    if (start === undefined) throw new Error("no start is under way");
    return start;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dock[Symbol.asyncDispose]();
  }
}

async function settle(): Promise<void> {
  for (let i = 0; i < 30; i++) await Promise.resolve();
}

describe("starts that fail", () => {
  it("are repeated after longer and longer pauses, up to half a minute", async () => {
    await using lab = new Lab({});
    const waited: number[] = [];
    for (let i = 0; i < 12; i++) {
      await lab.fail();
      waited.push(pauses[0]?.ms ?? 0);
    }
    const full = waited.map((_, i) => Math.min(30_000, 250 * 2 ** i));
    for (const [i, ms] of waited.entries()) {
      expect(ms).toBeGreaterThanOrEqual((full[i] ?? 0) / 2);
      expect(ms).toBeLessThanOrEqual(full[i] ?? 0);
    }
  });

  it("open the breaker after five in a row: then one at a time tries, and its success closes it", async () => {
    await using lab = new Lab({ min: 4, max: 4 }, 5);
    await settle();
    expect(lab.starts).toHaveLength(4); // priming leaves one of five processors to claims
    for (const [i, start] of lab.starts.entries()) start.reject(new VmSubstrateError("QEMU_EXITED", `${i}`));
    await settle();
    expect(lab.status).toMatchObject({ failures: 4, breaker: "closed", lastError: "3", starting: 4 });
    for (const pause of pauses.splice(0)) pause.end();
    await settle();
    for (const start of lab.starts.slice(4)) start.reject(new VmSubstrateError("QEMU_EXITED", "again"));
    await settle();
    expect(lab.status).toMatchObject({ failures: 8, breaker: "open", lastError: "again", starting: 1 });
    expect(pauses).toHaveLength(1);
    pauses.splice(0)[0]?.end();
    await settle();
    expect(lab.starts).toHaveLength(9);
    expect(lab.status).toMatchObject({ breaker: "half-open", starting: 1 });
    await lab.fail();
    expect(lab.status).toMatchObject({ failures: 9, breaker: "open", starting: 1 });
    await lab.succeed();
    expect(lab.status).toMatchObject({ failures: 0, breaker: "closed", lastError: undefined, ready: 1, starting: 3 });
    expect(pauses).toEqual([]);
  });

  it("for want of memory pause the dock, and are no failures", async () => {
    await using lab = new Lab({});
    for (let i = 0; i < 6; i++) await lab.fail("INSUFFICIENT_MEMORY");
    expect(lab.status).toMatchObject({ failures: 0, breaker: "closed", lastError: "start 6 failed" });
    expect(pauses.map(({ ms }) => ms)).toEqual([1000]);
    await lab.succeed();
    expect(lab.status).toMatchObject({ ready: 1, lastError: undefined });
  });

  it("for want of memory leave an open breaker as it is", async () => {
    await using lab = new Lab({});
    for (let i = 0; i < 5; i++) await lab.fail();
    await lab.fail("INSUFFICIENT_MEMORY");
    expect(lab.status).toMatchObject({ failures: 5, breaker: "open" });
  });
});

describe("a dock that is bounded by maxMiB", () => {
  it("makes one clone to learn from, then as many as fit", async () => {
    await using lab = new Lab({ min: 0, max: 8, maxMiB: 100 });
    expect(lab.status).toMatchObject({ max: 1, target: 0, memoryMiB: undefined });
    lab.dock.setTarget({ ...lab.dock.target, min: 1 });
    await lab.succeed();
    lab.meanMiB = 30;
    expect(lab.status).toMatchObject({ ready: 1, max: 3, memoryMiB: 30 });
    lab.dock.setTarget({ ...lab.dock.target, min: 8 });
    expect(lab.status).toMatchObject({ target: 3, min: 8, max: 3 });
    await lab.succeed();
    await lab.succeed();
    expect(lab.status).toMatchObject({ ready: 3, starting: 0, memoryMiB: 90 });
  });

  it("gives up what does not fit any more", async () => {
    await using lab = new Lab({ min: 3, max: 3, maxMiB: 100 });
    for (let i = 0; i < 3; i++) await lab.succeed();
    lab.meanMiB = 50;
    lab.dock.setTarget({ ...lab.dock.target });
    await settle();
    expect(lab.status).toMatchObject({ ready: 2, target: 2 });
    expect(lab.ended).toEqual(["clone2"]);
  });

  it("keeps none of clones that are larger than all of it", async () => {
    await using lab = new Lab({ min: 1, max: 1, maxMiB: 10 });
    await lab.succeed();
    lab.meanMiB = 50;
    lab.dock.setTarget({ ...lab.dock.target });
    await settle();
    expect(lab.status).toMatchObject({ ready: 0, starting: 0, target: 0, max: 0 });
  });
});

describe("Breaker", () => {
  it("pauses not at all before the first failure and after a success", () => {
    const breaker = new Breaker();
    expect(breaker.pauseMs()).toBe(0);
    for (let i = 0; i < 7; i++) breaker.failed();
    expect(breaker.pauseMs()).toBeGreaterThan(0);
    breaker.succeeded();
    expect([breaker.pauseMs(), breaker.failures, breaker.state]).toEqual([0, 0, "closed"]);
  });
});
