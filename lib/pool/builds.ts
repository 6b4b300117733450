import { isVmSubstrateError, type Logger, throwIfAborted } from "../core/index.ts";
import type { Accelerator, Paths, QemuBinary } from "../host/index.ts";
import {
  type BuildProgress,
  type BuildResult,
  buildSubstrate,
  progressReporter,
  type Recipe,
} from "../substrate/index.ts";
import type { LoadedSubstrates } from "./loaded-substrates.ts";
import type { Announcer } from "./pool-events.ts";
import { substrateInfo } from "./substrate-info.ts";

export interface BuildsDependencies {
  readonly paths: Paths;
  readonly qemu: QemuBinary;
  readonly logger: Logger;
  readonly accelerator: Accelerator | undefined;
  readonly events: Announcer;
}

/** The builds of a pool, one at a time: two would only take the processor from each other. */
export class Builds {
  readonly #deps: BuildsDependencies;
  readonly #loaded: LoadedSubstrates;
  /** Names of substrates whose builds are under way or wait for their turn. */
  readonly #names: string[] = [];
  #last: Promise<unknown> = Promise.resolve();

  constructor(deps: BuildsDependencies, loaded: LoadedSubstrates) {
    this.#deps = deps;
    this.#loaded = loaded;
  }

  isBuilding(name: string): boolean {
    return this.#names.includes(name);
  }

  /** Builds and loads a substrate. One that the catalog has, but that is damaged, is built again. */
  async build(
    name: string,
    recipe: Recipe,
    onProgress: ((progress: BuildProgress) => void) | undefined,
    signal: AbortSignal,
  ): Promise<BuildResult> {
    const building = this.#last.then(async () => {
      throwIfAborted(signal, "build");
      const deps = { ...this.#deps, progress: progressReporter(onProgress), signal };
      const make = async (reuse: boolean) => {
        const made = await buildSubstrate(name, recipe, { ...deps, reuse });
        if (!made.reused) this.#deps.events.announce("built", substrateInfo(made.substrate));
        return made;
      };
      const result = await make(true);
      try {
        return await this.#load(result); // now, rather than in the first activation
      } catch (error) {
        if (!result.reused || !isVmSubstrateError(error, "SUBSTRATE_CORRUPT")) throw error;
        this.#deps.logger.warn({ error: error.message }, "building a damaged substrate again");
        return this.#load(await make(false));
      }
    });
    this.#last = building.catch(() => {});
    this.#names.push(name);
    try {
      return await building;
    } finally {
      this.#names.splice(this.#names.indexOf(name), 1);
    }
  }

  /**
   * Runs something while nothing is built, and nothing else in here.
   * @throws VmSubstrateError ABORTED while it still waits for its turn; whatever `work` throws
   */
  async between<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    throwIfAborted(signal, "call");
    let isBegun = false;
    const working = this.#last.then(() => {
      throwIfAborted(signal, "call");
      isBegun = true;
      return work();
    });
    this.#last = working.catch(() => {});
    if (signal === undefined) return working;
    const { promise: gaveUp, reject } = Promise.withResolvers<never>();
    const giveUp = () => {
      if (!isBegun) reject(signal.reason);
    };
    signal.addEventListener("abort", giveUp, { once: true });
    try {
      return await Promise.race([working, gaveUp]);
    } finally {
      signal.removeEventListener("abort", giveUp);
    }
  }

  async #load(result: BuildResult): Promise<BuildResult> {
    this.#loaded.setLatest(result.substrate);
    await this.#loaded.get({ name: result.substrate.manifest.name, version: undefined });
    return result;
  }
}
