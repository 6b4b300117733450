import { mkdir, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { newId, VmSubstrateError } from "../core/index.ts";
import type { Paths, SubstratePaths } from "../host/index.ts";
import { type Manifest, parseManifest, serializeManifest } from "./manifest.ts";
import type { SubstrateReference } from "./reference.ts";
import { syncDirectory } from "./sync-directory.ts";

/** An empty file beside a name's versions, that the number of the newest removed one follows in its name. */
const REMOVED = ".removed-";

/** A frozen substrate on disk. */
export interface Substrate {
  readonly manifest: Manifest;
  readonly paths: SubstratePaths;
}

/** The name and number of a substrate. */
export interface SubstrateVersion {
  readonly name: string;
  readonly version: number;
}

/** The substrates of one state directory, by name and version. */
export class Catalog {
  readonly #paths: Paths;

  constructor(paths: Paths) {
    this.#paths = paths;
  }

  pathsOf(name: string, version: number): SubstratePaths {
    return this.#paths.substrate(name, version);
  }

  /** Every substrate, newest version first within a name. One that cannot be read is an error, not a gap. */
  async list(): Promise<Substrate[]> {
    const found: Substrate[] = [];
    for (const { name, version } of await this.all()) found.push(await this.read(name, version));
    return found;
  }

  /** Names and versions of all there are, readable or not, newest first within a name. */
  async all(): Promise<SubstrateVersion[]> {
    const found: SubstrateVersion[] = [];
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
      .filter((version) => Number.isInteger(version) && version > 0)
      .toSorted((a, b) => b - a);
  }

  /** The number of a name's next version: one that none has had, also none that was removed. */
  async nextVersion(name: string): Promise<number> {
    const removed = (await this.#removals(name)).map(({ version }) => version);
    return Math.max(0, ...(await this.versions(name)), ...removed) + 1;
  }

  async find(name: string): Promise<Substrate | undefined> {
    const [version] = await this.versions(name);
    return version === undefined ? undefined : this.read(name, version);
  }

  /** @throws VmSubstrateError SUBSTRATE_NOT_FOUND with the versions that there are, SUBSTRATE_CORRUPT */
  async resolve({ name, version }: SubstrateReference): Promise<Substrate> {
    if (version === undefined) return this.latest(name);
    const versions = await this.versions(name);
    if (versions.includes(version)) return this.read(name, version);
    if (versions.length === 0) return this.latest(name); // says which names there are
    const message = `there is no version ${version} of substrate "${name}" (there are: ${versions.join(", ")})`;
    throw new VmSubstrateError("SUBSTRATE_NOT_FOUND", message, { details: { name, version, versions } });
  }

  /** @throws VmSubstrateError SUBSTRATE_NOT_FOUND, SUBSTRATE_CORRUPT */
  async latest(name: string): Promise<Substrate> {
    const substrate = await this.find(name);
    if (substrate !== undefined) return substrate;
    const known = [...new Set((await this.all()).map((one) => one.name))];
    const hint = known.length === 0 ? "there is none yet" : `there are: ${known.join(", ")}`;
    const message = `there is no substrate "${name}" (${hint}); build or import it first`;
    throw new VmSubstrateError("SUBSTRATE_NOT_FOUND", message, { details: { name, known } });
  }

  /** The version of a name whose files and manifest are the same, whatever its number. Damaged ones are none. */
  async same(name: string, manifest: Manifest): Promise<Substrate | undefined> {
    const wanted = contentOf(manifest);
    for (const version of await this.versions(name)) {
      const found = await this.read(name, version).catch(() => undefined);
      if (found !== undefined && contentOf(found.manifest) === wanted) return found;
    }
    return undefined;
  }

  /**
   * Shows files that were verified as the next version of a name. Only one caller at a time may choose a number.
   * @param files where the catalog does not see them, without a manifest
   */
  async publish(name: string, files: SubstratePaths, content: Manifest): Promise<Substrate> {
    const version = await this.nextVersion(name);
    const manifest = { ...content, name, version };
    {
      await using handle = await open(files.manifest, "wx", 0o400);
      await handle.writeFile(serializeManifest(manifest));
      await handle.sync();
    }
    await syncDirectory(files.dir);
    const paths = this.#paths.substrate(name, version);
    await mkdir(dirname(paths.dir), { recursive: true, mode: 0o700 });
    await rename(files.dir, paths.dir);
    for (const dir of [dirname(paths.dir), this.#paths.substrates]) await syncDirectory(dir);
    return { manifest, paths };
  }

  /**
   * Takes a version away: out of sight by one rename, then from the disk. A crash in between leaves a hidden folder, which
   * the next opening removes. Nothing may use it. Its number is not given again: whoever has written it down means this one.
   */
  async remove(name: string, version: number): Promise<void> {
    const { dir } = this.#paths.substrate(name, version);
    const before = await this.#removals(name);
    if (before.every((one) => one.version < version)) {
      await writeFile(join(dirname(dir), `${REMOVED}${version}`), "", { mode: 0o600 });
      await syncDirectory(dirname(dir));
      for (const { file } of before) await rm(file, { force: true });
    }
    const hidden = this.#paths.substrateRemoval(name, version, newId());
    await rename(dir, hidden);
    await syncDirectory(this.#paths.substrates);
    await rm(hidden, { recursive: true, force: true });
  }

  /** What is left of removed versions: that they were there. */
  async #removals(name: string): Promise<{ readonly version: number; readonly file: string }[]> {
    const dir = join(this.#paths.substrates, name);
    const entries = await readdir(dir).catch(() => []);
    return entries
      .filter((entry) => entry.startsWith(REMOVED))
      .map((entry) => ({ version: Number(entry.slice(REMOVED.length)), file: join(dir, entry) }))
      .filter(({ version }) => Number.isInteger(version));
  }

  /** Staging folders of builds and imports whose process died, and what was being removed. Only for the directory's owner. */
  async removeAbandoned(): Promise<void> {
    const entries = await readdir(this.#paths.substrates).catch(() => []);
    for (const entry of entries.filter((name) => name.startsWith("."))) {
      await rm(join(this.#paths.substrates, entry), { recursive: true, force: true });
    }
  }

  /** @throws VmSubstrateError SUBSTRATE_CORRUPT */
  async read(name: string, version: number): Promise<Substrate> {
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

/** What a substrate is, without the place that it has in one catalog. The schema gives its fields one order. */
function contentOf(manifest: Manifest): string {
  return JSON.stringify({ ...manifest, name: "", version: 0 });
}

async function visible(dir: string): Promise<string[]> {
  const entries = await readdir(dir).catch(() => []);
  return entries.filter((name) => !name.startsWith(".")).toSorted();
}
