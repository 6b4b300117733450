import type { Paths, QemuBinary } from "../host/index.ts";
import { type Catalog, LoadedSubstrate, type Substrate } from "../substrate/index.ts";

/** The substrates of a pool that are in memory: each is verified and loaded once, however many ask for it. */
export class LoadedSubstrates implements AsyncDisposable {
  readonly #catalog: Catalog;
  readonly #paths: Paths;
  readonly #qemu: QemuBinary;
  /** The pool's end, not a caller's: others may wait for the same load. */
  readonly #signal: AbortSignal;
  readonly #latest = new Map<string, Substrate>();
  readonly #loaded = new Map<string, Promise<LoadedSubstrate>>();

  constructor(catalog: Catalog, paths: Paths, qemu: QemuBinary, signal: AbortSignal) {
    this.#catalog = catalog;
    this.#paths = paths;
    this.#qemu = qemu;
    this.#signal = signal;
  }

  /** A new version was built: the catalog is this pool's alone, so only its own builds change what is newest. */
  setLatest(substrate: Substrate): void {
    this.#latest.set(substrate.manifest.name, substrate);
  }

  /**
   * A substrate's newest version. A failed load is tried anew next time.
   * @throws VmSubstrateError SUBSTRATE_NOT_FOUND, SUBSTRATE_CORRUPT, SUBSTRATE_INCOMPATIBLE, INSUFFICIENT_SHARED_MEMORY
   */
  async get(name: string): Promise<LoadedSubstrate> {
    const substrate = this.#latest.get(name) ?? (await this.#catalog.latest(name));
    this.#latest.set(name, substrate);
    const key = `${name} ${substrate.manifest.version}`;
    const known = this.#loaded.get(key);
    if (known !== undefined) return known;
    const loading = LoadedSubstrate.load(substrate, this.#paths, this.#qemu, this.#signal);
    this.#loaded.set(key, loading);
    loading.catch(() => {
      this.#loaded.delete(key);
      this.#latest.delete(name); // it may have been mended or replaced by hand
    });
    return loading;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const loading of await Promise.allSettled(this.#loaded.values())) {
      if (loading.status === "fulfilled") await loading.value[Symbol.asyncDispose]();
    }
  }
}
