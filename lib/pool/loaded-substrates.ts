import { VmSubstrateError } from "../core/index.ts";
import type { Paths, QemuBinary } from "../host/index.ts";
import {
  type Catalog,
  formatReference,
  LoadedSubstrate,
  type Substrate,
  type SubstrateReference,
  type SubstrateVersion,
} from "../substrate/index.ts";

/** Until it is disposed, the substrate is not removed. */
export interface SubstrateHold extends Disposable {
  readonly substrate: Substrate;
}

/** As a hold, of one that is in memory. */
export interface SubstrateUse extends Disposable {
  readonly loaded: LoadedSubstrate;
}

/** The substrates of a pool that are in memory: each is verified and loaded once, however many ask for it. */
export class LoadedSubstrates implements AsyncDisposable {
  readonly #catalog: Catalog;
  readonly #paths: Paths;
  readonly #qemu: QemuBinary;
  /** The pool's end, not a caller's: others may wait for the same load. */
  readonly #signal: AbortSignal;
  /** By reference: "mini" is the newest one. */
  readonly #known = new Map<string, Substrate>();
  /** Counts what makes an answer of the catalog old: a new version, a removal. */
  #changes = 0;
  readonly #loaded = new Map<string, Promise<LoadedSubstrate>>();
  /** What each version is needed for at the moment, by calls under way. */
  readonly #holds = new Map<string, string[]>();
  /** Versions that are being removed. */
  readonly #leaving = new Set<string>();

  constructor(catalog: Catalog, paths: Paths, qemu: QemuBinary, signal: AbortSignal) {
    this.#catalog = catalog;
    this.#paths = paths;
    this.#qemu = qemu;
    this.#signal = signal;
  }

  /** A new version was made: the catalog is this pool's alone, so only its own calls change what is newest. */
  setLatest(substrate: Substrate): void {
    this.#changes++;
    this.#known.set(substrate.manifest.name, substrate);
  }

  /**
   * A substrate in memory. A failed load is tried anew next time.
   * @throws VmSubstrateError SUBSTRATE_NOT_FOUND, SUBSTRATE_CORRUPT, SUBSTRATE_INCOMPATIBLE, INSUFFICIENT_SHARED_MEMORY
   */
  async get(reference: SubstrateReference): Promise<LoadedSubstrate> {
    using use = await this.use(reference, "load");
    return use.loaded;
  }

  /** As `get`, and keeps it from being removed. @param what needs it, for messages */
  async use(reference: SubstrateReference, what: string): Promise<SubstrateUse> {
    const hold = await this.hold(reference, what);
    try {
      const loaded = await this.#load(hold.substrate);
      return { loaded, [Symbol.dispose]: () => hold[Symbol.dispose]() };
    } catch (error) {
      hold[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Keeps a substrate from being removed, without loading it.
   * @throws VmSubstrateError SUBSTRATE_NOT_FOUND, SUBSTRATE_CORRUPT
   */
  async hold(reference: SubstrateReference, what: string): Promise<SubstrateHold> {
    const substrate = await this.#find(reference);
    const key = formatReference(substrate.manifest);
    // In one turn with the hold: whoever removes it looks for holds and enters it there in one turn as well.
    if (this.#leaving.has(key)) {
      throw new VmSubstrateError("SUBSTRATE_NOT_FOUND", `substrate ${key} is being removed`, {
        details: { ...reference },
      });
    }
    const holds = this.#holds.get(key) ?? [];
    this.#holds.set(key, holds);
    holds.push(what);
    let isHeld = true;
    return {
      substrate,
      [Symbol.dispose]: () => {
        if (isHeld) holds.splice(holds.indexOf(what), 1);
        isHeld = false;
      },
    };
  }

  /** What calls under way need a version for. */
  holdsOf(version: SubstrateVersion): readonly string[] {
    return this.#holds.get(formatReference(version)) ?? [];
  }

  /** Removes versions that nothing holds, while nobody can begin to use them, and takes them out of memory. */
  async removing(
    versions: readonly SubstrateVersion[],
    remove: (version: SubstrateVersion) => Promise<void>,
  ): Promise<void> {
    const keys = versions.map((version) => formatReference(version));
    for (const key of keys) this.#leaving.add(key);
    try {
      for (const version of versions) {
        const key = formatReference(version);
        const loading = this.#loaded.get(key);
        try {
          await remove(version);
        } finally {
          // Also when it failed half-way: nothing has it, and what is still there will be loaded again.
          this.#forget(version);
          this.#holds.delete(key);
          await (await loading?.catch(() => undefined))?.[Symbol.asyncDispose]();
        }
      }
    } finally {
      for (const key of keys) this.#leaving.delete(key);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const loading of await Promise.allSettled(this.#loaded.values())) {
      if (loading.status === "fulfilled") await loading.value[Symbol.asyncDispose]();
    }
  }

  async #find(reference: SubstrateReference): Promise<Substrate> {
    const key = formatReference(reference);
    for (;;) {
      const known = this.#known.get(key);
      if (known !== undefined) return known;
      const changes = this.#changes;
      const substrate = await this.#catalog.resolve(reference);
      if (changes !== this.#changes) continue;
      this.#known.set(key, substrate);
      return substrate;
    }
  }

  #forget({ name, version }: SubstrateVersion): void {
    this.#changes++;
    const key = formatReference({ name, version });
    for (const one of [name, key]) this.#known.delete(one);
    this.#loaded.delete(key);
  }

  async #load(substrate: Substrate): Promise<LoadedSubstrate> {
    const key = formatReference(substrate.manifest);
    const known = this.#loaded.get(key);
    if (known !== undefined) return known;
    const loading = LoadedSubstrate.load(substrate, this.#paths, this.#qemu, this.#signal);
    this.#loaded.set(key, loading);
    loading.catch(() => this.#forget(substrate.manifest)); // it may be mended or replaced by hand
    return loading;
  }
}
