import { basename } from "node:path";
import { hostFailure, type Logger, MIB, messageOf, throwIfAborted } from "../core/index.ts";
import type { Paths, QemuBinary } from "../host/index.ts";
import {
  type ArchiveOptions,
  type Catalog,
  Pace,
  type ScrubbedSubstrate,
  type Substrate,
  type SubstrateReference,
  type SubstrateVersion,
  scrub,
  unpackArchive,
  writeArchive,
} from "../substrate/index.ts";
import type { Announcer } from "./pool-events.ts";
import { type SubstrateInfo, substrateInfo } from "./substrate-info.ts";
import type { ExportedSubstrate, PruneReport, ScrubOptions, ScrubReport } from "./substrate-options.ts";
import { inUse, type UsersDependencies, usersOf } from "./substrate-users.ts";

export interface SubstratesDependencies extends UsersDependencies {
  readonly paths: Paths;
  readonly qemu: QemuBinary;
  readonly logger: Logger;
  readonly catalog: Catalog;
  readonly events: Announcer;
}

interface Call {
  readonly signal: AbortSignal;
}

/** What is done to the substrates of a pool but for making them: moving them between machines, removing and checking them. */
export class Substrates {
  readonly #deps: SubstratesDependencies;

  constructor(deps: SubstratesDependencies) {
    this.#deps = deps;
  }

  /** @throws VmSubstrateError as `Pool.exportSubstrate` */
  async export(
    call: Call & Omit<ArchiveOptions, "signal"> & { readonly reference: SubstrateReference; readonly file: string },
  ): Promise<ExportedSubstrate> {
    const { reference, file } = call;
    using hold = await this.#deps.loaded.hold(reference, "exportSubstrate");
    const { name, version } = hold.substrate.manifest;
    const sizeBytes = await typed(writeArchive(hold.substrate, file, call));
    return { name, version, file, sizeBytes };
  }

  /** @throws VmSubstrateError as `Pool.importSubstrate` */
  async import(
    call: Call & Omit<ArchiveOptions, "signal"> & { readonly file: string; readonly name?: string | undefined },
  ): Promise<SubstrateInfo & { readonly reused: boolean }> {
    const { builds, catalog, paths, qemu } = this.#deps;
    await using unpacked = await typed(unpackArchive(call.file, { ...call, paths, qemu }));
    const { manifest, files } = unpacked;
    const { name = manifest.name, signal } = call;
    // Builds and other imports choose version numbers as well, by what the catalog has.
    const result = await builds.between(async () => {
      const known = await this.#intact(await catalog.same(name, manifest), signal);
      if (known !== undefined) return { substrate: known, reused: true };
      throwIfAborted(signal, "importSubstrate");
      const substrate = await typed(catalog.publish(name, files, manifest));
      this.#deps.loaded.setLatest(substrate);
      this.#deps.events.announce("built", substrateInfo(substrate));
      return { substrate, reused: false };
    }, signal);
    if (!result.reused) await this.#renew(name);
    return { ...substrateInfo(result.substrate), reused: result.reused };
  }

  /** @throws VmSubstrateError as `Pool.removeSubstrate` */
  async remove(
    call: Call & { readonly reference: SubstrateReference; readonly scope: "one" | "all" },
  ): Promise<SubstrateVersion[]> {
    const { builds } = this.#deps;
    const { reference, scope, signal } = call;
    // At once, rather than after the build that uses it.
    for (const version of await this.#matching(reference, scope)) this.#requireUnused(version);
    return builds.between(async () => {
      const versions = await this.#matching(reference, scope);
      for (const version of versions) this.#requireUnused(version);
      await this.#remove(versions);
      return versions;
    }, signal);
  }

  /** @throws VmSubstrateError as `Pool.pruneSubstrates` */
  async prune({ keep, signal }: Call & { readonly keep: number }): Promise<PruneReport> {
    const { builds, catalog } = this.#deps;
    return builds.between(async () => {
      const all = await catalog.all();
      const old = all.filter(({ name }, i) => all[i - keep]?.name === name); // newest first within a name
      const removed: SubstrateVersion[] = [];
      const stay: PruneReport["inUse"][number][] = [];
      for (const version of old) {
        throwIfAborted(signal, "pruneSubstrates");
        const users = usersOf(version, this.#deps);
        if (users.length > 0) {
          stay.push({ ...version, users });
          continue;
        }
        await this.#remove([version]);
        removed.push(version);
      }
      return { removed, inUse: stay };
    }, signal);
  }

  /** @throws VmSubstrateError as `Pool.scrubSubstrates` */
  async scrub({
    signal,
    maxMiBPerSecond,
    onProgress,
  }: Call & { readonly maxMiBPerSecond: number } & Pick<ScrubOptions, "onProgress">): Promise<ScrubReport> {
    const { catalog } = this.#deps;
    const pace = new Pace(maxMiBPerSecond * MIB);
    const substrates: ScrubbedSubstrate[] = [];
    for (const version of await catalog.all()) {
      throwIfAborted(signal, "scrubSubstrates");
      const result = await scrub(version, catalog, { pace, signal });
      // One that was removed meanwhile is not damaged.
      if (result.state === "damaged" && !(await catalog.versions(version.name)).includes(version.version)) continue;
      substrates.push(result);
      onProgress?.(result);
    }
    return {
      substrates,
      damaged: substrates.filter(({ state }) => state === "damaged").length,
      bytes: substrates.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  }

  /** Names of RAM files on the tmpfs that belong to substrates: loaded, or left by an earlier owner, whose VMs may map them. */
  async ramFiles(): Promise<Set<string>> {
    const { catalog, paths } = this.#deps;
    return new Set((await catalog.all()).map(({ name, version }) => basename(paths.loadedRam(name, version))));
  }

  /** The content that is there already, unless it was damaged there: then the import mends it by a new version, as a build does. */
  async #intact(known: Substrate | undefined, signal: AbortSignal): Promise<Substrate | undefined> {
    if (known === undefined) return undefined;
    const unpaced = new Pace(Number.POSITIVE_INFINITY);
    const { state } = await scrub(known.manifest, this.#deps.catalog, { pace: unpaced, signal });
    return state === "ok" ? known : undefined;
  }

  /** @throws VmSubstrateError SUBSTRATE_NOT_FOUND */
  async #matching(reference: SubstrateReference, scope: "one" | "all"): Promise<SubstrateVersion[]> {
    const { name, version } = reference;
    const versions = await this.#deps.catalog.versions(name);
    const wanted =
      scope === "all" ? versions : versions.filter((one, i) => (version === undefined ? i === 0 : one === version));
    if (wanted.length === 0) await this.#deps.catalog.resolve(reference); // says what there is
    return wanted.toReversed().map((one) => ({ name, version: one }));
  }

  #requireUnused(version: SubstrateVersion): void {
    const users = usersOf(version, this.#deps);
    if (users.length > 0) throw inUse(version, users);
  }

  /** In the same turn as the look for users: nobody can begin to use them in between. */
  async #remove(versions: readonly SubstrateVersion[]): Promise<void> {
    const { loaded, docks, catalog, events } = this.#deps;
    await typed(
      loaded.removing(versions, async (version) => {
        await docks.forget(version);
        await catalog.remove(version.name, version.version);
        events.announce("removed", version);
      }),
    );
  }

  /** The import succeeded whatever comes of this: a dock that cannot have the new version goes on with the old one. */
  async #renew(name: string): Promise<void> {
    const { loaded, docks, logger } = this.#deps;
    if (!docks.follows(name)) return;
    try {
      using use = await loaded.use({ name, version: undefined }, "importSubstrate");
      await docks.renew(use.loaded);
    } catch (error) {
      logger.warn({ substrate: name, error: messageOf(error) }, "the dock stays at the old version");
    }
  }
}

/** Errors of Node's that are about this machine become ours. */
async function typed<T>(work: Promise<T>): Promise<T> {
  return work.catch((error: unknown) => {
    throw hostFailure(error) ?? error;
  });
}
