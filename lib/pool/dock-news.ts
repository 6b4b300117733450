import type { Dock } from "./dock.ts";
import type { DockStatus } from "./options.ts";

export interface DockNewsDependencies {
  /** Whether a dock was not taken away or replaced meanwhile. */
  readonly isCurrent: (dock: Dock) => boolean;
  readonly announce: (status: DockStatus) => void;
}

/** Tells of docks that have changed: of each at most once in a turn of the event loop, and never the same twice. */
export class DockNews implements Disposable {
  readonly #deps: DockNewsDependencies;
  readonly #changed = new Set<Dock>();
  readonly #told = new WeakMap<Dock, string>();
  #turn: NodeJS.Immediate | undefined;

  constructor(deps: DockNewsDependencies) {
    this.#deps = deps;
  }

  /** A dock may have changed. */
  of(dock: Dock): void {
    this.#changed.add(dock);
    this.#turn ??= setImmediate(() => this.#tell());
  }

  [Symbol.dispose](): void {
    clearImmediate(this.#turn);
  }

  #tell(): void {
    this.#turn = undefined;
    const changed = [...this.#changed];
    this.#changed.clear();
    for (const dock of changed) {
      if (!this.#deps.isCurrent(dock)) continue;
      const { status } = dock;
      // Measured memory is another number each second: it is told with whatever else has changed.
      const text = JSON.stringify({ ...status, memoryMiB: undefined });
      if (text === this.#told.get(dock)) continue;
      this.#told.set(dock, text);
      this.#deps.announce(status);
    }
  }
}
