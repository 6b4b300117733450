import { describe, expect, it } from "vitest";
import type { Dock } from "../../lib/pool/dock.ts";
import { DockNews } from "../../lib/pool/dock-news.ts";
import type { DockStatus } from "../../lib/pool/index.ts";

function newDock(status: Partial<DockStatus>): { dock: Dock; set: (changed: Partial<DockStatus>) => void } {
  const own = { substrate: "fake", ...status };
  const dock = {
    get status() {
      return { ...own };
    },
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- all that is looked at is the status
  return { dock: dock as unknown as Dock, set: (changed) => Object.assign(own, changed) };
}

function newsTo(seen: Partial<DockStatus>[], gone = new Set<Dock>()): DockNews {
  return new DockNews({ isCurrent: (dock) => !gone.has(dock), announce: (status) => void seen.push(status) });
}

const nextTurn = () => new Promise(setImmediate);

describe("news of docks", () => {
  it("are told once for all that happens in a turn, as it is at its end", async () => {
    const seen: Partial<DockStatus>[] = [];
    using news = newsTo(seen);
    const [a, b] = [newDock({ ready: 0 }), newDock({ ready: 7 })];
    for (const ready of [1, 2, 3]) {
      a.set({ ready });
      news.of(a.dock);
      news.of(b.dock);
    }
    expect(seen).toEqual([]);
    await nextTurn();
    expect(seen.map(({ ready }) => ready)).toEqual([3, 7]);
  });

  it("are only what differs from the last time, by more than measured memory", async () => {
    const seen: Partial<DockStatus>[] = [];
    using news = newsTo(seen);
    const { dock, set } = newDock({ ready: 1, memoryMiB: 10 });
    for (const changed of [{}, {}, { memoryMiB: 11 }, { ready: 2 }, { failures: 1 }, { breaker: "open" as const }]) {
      set(changed);
      news.of(dock);
      await nextTurn();
    }
    expect(seen).toMatchObject([
      { ready: 1, memoryMiB: 10 },
      { ready: 2, memoryMiB: 11 },
      { failures: 1 },
      { breaker: "open" },
    ]);
  });

  it("are not of a dock that was taken away in the same turn, nor told after the end", async () => {
    const seen: Partial<DockStatus>[] = [];
    const gone = new Set<Dock>();
    const { dock } = newDock({ ready: 1 });
    {
      using news = newsTo(seen, gone);
      news.of(dock);
      gone.add(dock);
      await nextTurn();
      news.of(newDock({ ready: 2 }).dock);
    }
    await nextTurn();
    expect(seen).toEqual([]);
  });
});
