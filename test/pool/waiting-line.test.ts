import { afterEach, describe, expect, it, vi } from "vitest";
import { VmSubstrateError } from "../../lib/core/index.ts";
import { WaitingLine } from "../../lib/pool/waiting-line.ts";

const SHORT = new VmSubstrateError("INSUFFICIENT_MEMORY", "short");

/** So much room, in a line of those who want some of it. */
class Room {
  readonly line = new WaitingLine();
  /** What happened, in order: "a waits as 1", "a has room". */
  readonly seen: string[] = [];
  free: number;

  constructor(free: number) {
    this.free = free;
  }

  async ask(name: string, size: number, options: { wait?: boolean; signal?: AbortSignal } = {}): Promise<void> {
    const { wait = true, signal = new AbortController().signal } = options;
    const attempt = async () => {
      if (size > this.free) throw SHORT;
      this.free -= size;
      this.seen.push(`${name} has room`);
    };
    const onPosition = (position: number) => this.seen.push(`${name} waits as ${position}`);
    await this.line.run(attempt, { wait, signal, onPosition, needsRoom: () => size > 0 });
  }

  giveBack(size: number): void {
    this.free += size;
    this.line.notify();
  }
}

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

afterEach(() => {
  vi.useRealTimers();
});

describe("a line of calls that wait", () => {
  it("is not entered by a call for which there is room", async () => {
    const room = new Room(1);
    await room.ask("a", 1);
    expect(room.seen).toEqual(["a has room"]);
    expect(room.line.length).toBe(0);
  });

  it("is served in its order: a small call does not overtake a large one", async () => {
    const room = new Room(1);
    const large = room.ask("large", 3);
    await settle();
    const small = room.ask("small", 1);
    await settle();
    expect(room.seen).toEqual(["large waits as 1", "small waits as 2"]);
    room.giveBack(1);
    await settle();
    expect(room.seen).toHaveLength(2);
    room.giveBack(1);
    await Promise.all([large, settle()]);
    expect(room.seen.slice(2)).toEqual(["large has room", "small waits as 1"]);
    room.giveBack(1);
    await small;
    expect(room.line.length).toBe(0);
  });

  it("looks again by itself, because other programs give back memory and tell nobody", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const room = new Room(0);
    const waiting = room.ask("a", 1);
    await settle();
    room.free = 1;
    await vi.advanceTimersByTimeAsync(1000);
    await waiting;
  });

  it("fails at once who needs room and does not wait, and lets through who needs none", async () => {
    const room = new Room(1);
    const controller = new AbortController();
    const waiting = room.ask("first", 2, { signal: controller.signal });
    waiting.catch(() => {});
    await settle();
    const refused = room.ask("small", 1, { wait: false }); // though there would be room for it
    await expect(refused).rejects.toMatchObject({ code: "INSUFFICIENT_MEMORY", details: { waiting: 1 } });
    await room.ask("docked", 0, { wait: false });
    expect(room.seen.at(-1)).toBe("docked has room");
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("is left by who gives up, wherever it stood, and the others move up", async () => {
    const room = new Room(0);
    const controllers = ["a", "b", "c"].map((name) => ({ name, controller: new AbortController() }));
    const waiting: Promise<unknown>[] = [];
    for (const { name, controller } of controllers) {
      waiting.push(room.ask(name, 1, { signal: controller.signal }).catch((error: VmSubstrateError) => error.code));
      await settle();
    }
    controllers[1]?.controller.abort();
    expect(await waiting[1]).toBe("ABORTED");
    expect(room.seen.slice(3)).toEqual(["a waits as 1", "c waits as 2"]);
    controllers[0]?.controller.abort();
    expect(await waiting[0]).toBe("ABORTED");
    room.giveBack(1);
    await waiting[2];
    expect(room.seen.slice(5)).toEqual(["c waits as 1", "c has room"]);
    expect(room.line.length).toBe(0);
  });

  it("is left at once by a call that fails for good, and the next is served", async () => {
    const line = new WaitingLine();
    const options = { wait: true, signal: new AbortController().signal, onPosition: () => {}, needsRoom: () => true };
    let isShort = true;
    const attempt = async () => {
      if (isShort) throw SHORT;
      throw new VmSubstrateError("LEASE_CONFLICT", "taken");
    };
    const failing = line.run(attempt, options);
    failing.catch(() => {});
    await settle();
    const next = line.run(async () => "room", options);
    isShort = false;
    line.notify();
    await expect(failing).rejects.toMatchObject({ code: "LEASE_CONFLICT" });
    expect(await next).toBe("room");
  });

  it("has a bound", async () => {
    const room = new Room(0);
    const controller = new AbortController();
    const waiting = Array.from({ length: 1024 }, (_, i) => room.ask(`${i}`, 1, { signal: controller.signal }));
    for (const one of waiting) one.catch(() => {});
    await settle();
    await expect(room.ask("one too many", 1)).rejects.toMatchObject({ code: "INSUFFICIENT_MEMORY" });
    controller.abort();
    await Promise.allSettled(waiting);
    expect(room.line.length).toBe(0);
  });
});
