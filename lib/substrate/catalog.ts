import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { VmSubstrateError } from "../core/index.ts";
import type { Paths, SubstratePaths } from "../host/index.ts";
import { type Manifest, parseManifest } from "./manifest.ts";

/** A frozen substrate on disk. */
export interface Substrate {
  readonly manifest: Manifest;
  readonly paths: SubstratePaths;
}

/** The substrates of one state directory, by name and version. */
export class Catalog {
  readonly #paths: Paths;

  constructor(paths: Paths) {
    this.#paths = paths;
  }

  /** Every substrate, newest version first within a name. One that cannot be read is an error, not a gap. */
  async list(): Promise<Substrate[]> {
    const found: Substrate[] = [];
    for (const { name, version } of await this.all()) found.push(await this.#read(name, version));
    return found;
  }

  /** Names and versions of all there are, readable or not. */
  async all(): Promise<{ readonly name: string; readonly version: number }[]> {
    const found: { name: string; version: number }[] = [];
    for (const name of await visible(this.#paths.substrates)) {
      for (const version of await this.versions(name)) found.push({ name, version });
    }
    return found;
  }

  /** Version numbers of a name, newest first. */
  async versions(name: string): Promise<number[]> {
    const entries = await visible(join(this.#paths.substrates, name));
    return entries
      .map(Number)
      .filter(Number.isInteger)
      .toSorted((a, b) => b - a);
  }

  async find(name: string): Promise<Substrate | undefined> {
    const [version] = await this.versions(name);
    return version === undefined ? undefined : this.#read(name, version);
  }

  /** @throws VmSubstrateError SUBSTRATE_NOT_FOUND, SUBSTRATE_CORRUPT */
  async latest(name: string): Promise<Substrate> {
    const substrate = await this.find(name);
    if (substrate !== undefined) return substrate;
    const known = await visible(this.#paths.substrates);
    const hint = known.length === 0 ? "there is none yet" : `there are: ${known.join(", ")}`;
    const message = `there is no substrate "${name}" (${hint}); make it by pool.build`;
    throw new VmSubstrateError("SUBSTRATE_NOT_FOUND", message, { details: { name, known } });
  }

  /** Staging folders of builds whose process died. Only for the directory's owner. */
  async removeAbandoned(): Promise<void> {
    const entries = await readdir(this.#paths.substrates).catch(() => []);
    for (const entry of entries.filter((name) => name.startsWith("."))) {
      await rm(join(this.#paths.substrates, entry), { recursive: true, force: true });
    }
  }

  async #read(name: string, version: number): Promise<Substrate> {
    const paths = this.#paths.substrate(name, version);
    const text = await readFile(paths.manifest, "utf8").catch((cause: unknown) => {
      const message = `substrate ${name} ${version} has no readable manifest; remove ${paths.dir} and build it again`;
      throw new VmSubstrateError("SUBSTRATE_CORRUPT", message, { cause });
    });
    const manifest = parseManifest(text, paths.manifest);
    if (manifest.name === name && manifest.version === version) return { manifest, paths };
    const message = `${paths.manifest} is that of ${manifest.name} ${manifest.version}; remove ${paths.dir} and build it again`;
    throw new VmSubstrateError("SUBSTRATE_CORRUPT", message, { details: { where: paths.manifest } });
  }
}

async function visible(dir: string): Promise<string[]> {
  const entries = await readdir(dir).catch(() => []);
  return entries.filter((name) => !name.startsWith(".")).toSorted();
}
