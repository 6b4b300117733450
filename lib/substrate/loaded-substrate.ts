import { chmod, rm, stat } from "node:fs/promises";
import { VmSubstrateError } from "../core/index.ts";
import { type Paths, type QemuBinary, requireSharedMemory } from "../host/index.ts";
import type { Substrate } from "./catalog.ts";
import { requireCompatible } from "./compatibility.ts";
import type { FileDigest, Manifest } from "./manifest.ts";
import { copySparse, digestFile } from "./sparse-file.ts";

/** Tells whether a file was touched, without reading it: the kernel changes ctime with every write and chmod. */
type Fingerprint = readonly bigint[];

/**
 * A substrate whose files were verified, with its RAM on the tmpfs where clones map it. Disposing takes the RAM out of
 * memory again.
 */
export class LoadedSubstrate implements AsyncDisposable {
  readonly substrate: Substrate;
  /** The RAM file that clones map MAP_PRIVATE. */
  readonly ramFile: string;
  /** Of a forked VM: what is under its disk, the newest first. */
  readonly instants: readonly string[];
  readonly #fingerprints: ReadonlyMap<string, Fingerprint>;
  readonly #dependents = new AsyncDisposableStack();

  private constructor(
    substrate: Substrate,
    ramFile: string,
    fingerprints: ReadonlyMap<string, Fingerprint>,
    instants: readonly string[] = [],
  ) {
    this.substrate = substrate;
    this.instants = instants;
    this.ramFile = ramFile;
    this.#fingerprints = fingerprints;
  }

  get manifest(): Manifest {
    return this.substrate.manifest;
  }

  /**
   * Verifies every file against the manifest and copies the RAM into shared memory, digesting exactly the bytes that
   * clones will map. QEMU would not notice a flipped bit or a cut-off stream.
   *
   * @throws VmSubstrateError SUBSTRATE_INCOMPATIBLE naming the field, SUBSTRATE_CORRUPT naming the file, INSUFFICIENT_SHARED_MEMORY, ABORTED
   */
  static async load(
    substrate: Substrate,
    paths: Paths,
    qemu: QemuBinary,
    signal?: AbortSignal,
  ): Promise<LoadedSubstrate> {
    const { manifest, paths: files } = substrate;
    await requireCompatible(manifest, qemu, paths);
    const { name, version, memory } = manifest;
    for (const file of ["state", "disk", "helper"] as const) {
      const found = await digestFile(files[file], signal).catch((cause: unknown) =>
        missing(substrate, file, signal, cause),
      );
      requireDigest(substrate, file, found);
    }
    const ramFile = paths.loadedRam(name, version);
    try {
      // An earlier owner may have left it, with VMs that map it: to copy it anew would take the memory twice.
      const left = await digestFile(ramFile, signal).catch(() => undefined);
      if (left?.sha256 !== manifest.files.ram.sha256 || left.sizeBytes !== manifest.files.ram.sizeBytes) {
        await rm(ramFile, { force: true });
        const purpose = `the RAM of substrate ${name} ${version}`;
        await requireSharedMemory(paths.sharedMemoryRoot, memory.residentBytes, purpose);
        const copied = await copySparse(files.ram, ramFile, signal).catch((cause: unknown) =>
          missing(substrate, "ram", signal, cause),
        );
        requireDigest(substrate, "ram", copied);
      }
      await chmod(ramFile, ramFileMode());
      const guarded = [ramFile, files.state, files.disk, files.helper];
      const fingerprints = new Map<string, Fingerprint>();
      for (const file of guarded) fingerprints.set(file, await fingerprint(file));
      return new LoadedSubstrate(substrate, ramFile, fingerprints);
    } catch (error) {
      await rm(ramFile, { force: true });
      throw error;
    }
  }

  /**
   * What forks are made of, with a RAM file and a device state that were just written, and are its owner's to remove. Its disk is
   * not watched: the VM that it was taken of has it under another name.
   */
  static async ofInstant(substrate: Substrate, ramFile: string, instants: readonly string[]): Promise<LoadedSubstrate> {
    const fingerprints = new Map<string, Fingerprint>();
    for (const file of [ramFile, substrate.paths.state]) fingerprints.set(file, await fingerprint(file));
    return new LoadedSubstrate(substrate, ramFile, fingerprints, instants);
  }

  /**
   * Checks that no file was touched since it was verified: four stat calls.
   * @throws VmSubstrateError SUBSTRATE_CORRUPT
   */
  async requireUntouched(): Promise<void> {
    for (const [file, known] of this.#fingerprints) {
      const found = await fingerprint(file).catch(() => []);
      if (known.length === found.length && known.every((value, i) => value === found[i])) continue;
      throw corrupt(this.substrate, file, "was changed after it had been verified");
    }
  }

  /** Ended before its RAM is taken out of memory. */
  endBefore(dependent: AsyncDisposable): void {
    this.#dependents.use(dependent);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#dependents.disposeAsync();
    await rm(this.ramFile, { force: true });
  }
}

/**
 * QEMU 7.2 opens the RAM file for writing even to map it privately (its `readonly=on` would make the guest's memory
 * read-only), which 0400 forbids to everyone but root. For others the private directory and the fingerprint guard it.
 */
function ramFileMode(): number {
  return process.getuid?.() === 0 ? 0o400 : 0o600;
}

async function fingerprint(file: string): Promise<Fingerprint> {
  const { dev, ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
  return [dev, ino, size, mtimeNs, ctimeNs];
}

function requireDigest(substrate: Substrate, file: "ram" | "state" | "disk" | "helper", found: FileDigest): void {
  const expected = substrate.manifest.files[file];
  if (found.sizeBytes !== expected.sizeBytes) {
    throw corrupt(
      substrate,
      substrate.paths[file],
      `has ${found.sizeBytes} bytes, its manifest says ${expected.sizeBytes}`,
    );
  }
  if (found.sha256 !== expected.sha256) {
    throw corrupt(
      substrate,
      substrate.paths[file],
      `has SHA-256 ${found.sha256}, its manifest says ${expected.sha256}`,
    );
  }
}

function missing(
  substrate: Substrate,
  file: keyof Manifest["files"],
  signal: AbortSignal | undefined,
  cause: unknown,
): never {
  signal?.throwIfAborted();
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === "ENOENT" || code === "EACCES")
    throw corrupt(substrate, substrate.paths[file], `cannot be read (${code})`);
  throw cause;
}

function corrupt({ manifest }: Substrate, file: string, problem: string): VmSubstrateError {
  return new VmSubstrateError(
    "SUBSTRATE_CORRUPT",
    `substrate ${manifest.name} ${manifest.version}: ${file} ${problem}; build it again`,
    { details: { substrate: manifest.name, version: manifest.version, file } },
  );
}
