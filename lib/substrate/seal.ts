import { chmod, mkdir, open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { MIB, throwIfAborted } from "../core/index.ts";
import { cpuModelFor, type Paths, type QemuBinary, qcow2VirtualSize, type SubstratePaths } from "../host/index.ts";
import { bootFilesOf } from "./boot-files.ts";
import type { Substrate } from "./catalog.ts";
import type { Prepared } from "./generalize/index.ts";
import { MACHINE_TYPE } from "./machine.ts";
import { FORMAT_VERSION, type Manifest, serializeManifest } from "./manifest.ts";
import { digestFile } from "./sparse-file.ts";

/** What a manifest says that its files do not. */
export interface Sealed extends Pick<Manifest, "name" | "version" | "inputsKey" | "accelerator" | "guest"> {
  readonly prepared: Prepared;
  /** Bytes of the RAM file's pages that are not zero. */
  readonly residentBytes: number;
  readonly ram: Manifest["files"]["ram"];
  readonly state: Manifest["files"]["state"];
  /** QEMU's device arguments, in order. */
  readonly devices: readonly string[];
}

/**
 * Makes a substrate of finished files: digests, manifest, everything synced and read-only; then one rename shows it.
 * @throws VmSubstrateError ABORTED before anybody sees it
 */
export async function sealSubstrate(
  { ram, state, devices, prepared, residentBytes, ...said }: Sealed,
  staging: SubstratePaths,
  {
    paths,
    qemu,
    signal,
  }: { readonly paths: Paths; readonly qemu: QemuBinary; readonly signal: AbortSignal | undefined },
): Promise<Substrate> {
  const disk = await digestFile(staging.disk);
  const files: Manifest["files"] = { ram, state, disk, helper: await digestFile(staging.helper) };
  const bootFiles = bootFilesOf(said.guest);
  for (const file of bootFiles) files[file] = await digestFile(staging[file]);
  const content = {
    name: said.name,
    version: said.version,
    createdAt: new Date().toISOString(),
    inputsKey: said.inputsKey,
    qemu: { version: qemu.version, build: qemu.build },
    machine: MACHINE_TYPE,
    accelerator: said.accelerator,
    cpuModel: cpuModelFor(said.accelerator),
    devices: [...devices],
    guest: said.guest,
    memory: { assignedBytes: said.guest.memoryMiB * MIB, usedBytes: prepared.usedBytes, residentBytes },
    tell: prepared.tell.map((argv) => [...argv]),
    generalized: prepared.generalized.map(({ paths: some, ...trace }) => ({ ...trace, paths: [...some] })),
    diskSizeBytes: await qcow2VirtualSize(staging.disk),
    files,
  };
  {
    await using manifest = await open(staging.manifest, "wx", 0o400);
    await manifest.writeFile(serializeManifest(content));
    await manifest.sync();
  }
  for (const file of ["ram", "state", "disk", "helper", ...bootFiles] as const) {
    await using handle = await open(staging[file], "r");
    await handle.sync();
    await chmod(staging[file], 0o400);
  }
  const final = paths.substrate(said.name, said.version);
  throwIfAborted(signal, "build");
  await mkdir(dirname(final.dir), { recursive: true, mode: 0o700 });
  await rename(staging.dir, final.dir);
  return { manifest: { formatVersion: FORMAT_VERSION, ...content }, paths: final };
}
