import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EmbeddedStore, type EmbeddedStoreOptions } from "../../lib/store/index.ts";
import type { StoreTarget } from "./store-target.ts";

/** An embedded store in a directory of its own, with a clock that stands still until it is advanced. */
export class EmbeddedTarget implements StoreTarget {
  readonly dir: string;
  readonly file: string;
  readonly #options: EmbeddedStoreOptions;
  #now = 0;
  #opened: EmbeddedStore | undefined;

  private constructor(dir: string, options: EmbeddedStoreOptions) {
    this.dir = dir;
    this.file = join(dir, "store.db");
    this.#options = { now: () => this.#now, ...options };
  }

  static async open(options: EmbeddedStoreOptions = {}): Promise<EmbeddedTarget> {
    const target = new EmbeddedTarget(await mkdtemp(join(tmpdir(), "store-")), options);
    await target.reopen();
    return target;
  }

  get store(): EmbeddedStore {
    if (this.#opened === undefined) throw new Error("the store did not open");
    return this.#opened;
  }

  async reopen(): Promise<EmbeddedStore> {
    await this.#opened?.[Symbol.asyncDispose]();
    this.#opened = await EmbeddedStore.open(this.file, this.#options);
    return this.#opened;
  }

  async advance(ms: number): Promise<void> {
    this.#now += ms;
    await this.store.get("any"); // its timers run by the real clock, every operation looks at this one
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened?.[Symbol.asyncDispose]();
    await rm(this.dir, { recursive: true, force: true });
  }
}
