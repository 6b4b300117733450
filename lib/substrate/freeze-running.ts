import { randomUUID } from "node:crypto";
import { copyFile, mkdir, rm } from "node:fs/promises";
import { KIB, newId } from "../core/index.ts";
import { type Paths, type QemuBinary, type QemuInstance, requireMemory, runTool } from "../host/index.ts";
import { bootFilesOf } from "./boot-files.ts";
import { captureRunning } from "./capture.ts";
import { Catalog, type Substrate } from "./catalog.ts";
import { prepareToFreeze } from "./generalize/index.ts";
import type { Progress } from "./progress.ts";
import type { GuestChannels } from "./ready/index.ts";
import { sealSubstrate } from "./seal.ts";
import { settle } from "./settle.ts";
import { copySparse, digestFile } from "./sparse-file.ts";

const STEP_TIMEOUT_MS = 60_000;
const FLATTEN_TIMEOUT_MS = 600_000;
/** Small clusters: what the guest has discarded is gone, rather than only most of it. */
const CLUSTER_BYTES = 4 * KIB;

export interface FreezeRunningDependencies {
  readonly paths: Paths;
  readonly qemu: QemuBinary;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** A running clone that nobody wants to keep. */
export interface Expendable {
  readonly instance: QemuInstance;
  readonly channels: GuestChannels;
  /** The disk that it writes to, over whatever is below. */
  readonly overlay: string;
  /** What it is a clone of. */
  readonly origin: Substrate;
}

/**
 * Makes a substrate of a running clone: generalized and miniaturized as a build does it, memory and device state of one instant,
 * and its disk made flat. The clone is of no use afterwards, and has to be ended by whoever has it.
 *
 * @throws VmSubstrateError BUILD_FAILED, FORK_FAILED, GUEST_*, QMP_*, INSUFFICIENT_*, TIMEOUT, ABORTED; nothing is left
 */
export async function freezeRunning(
  name: string,
  { instance, channels, overlay, origin }: Expendable,
  deps: FreezeRunningDependencies,
): Promise<Substrate> {
  const { paths, progress, signal } = deps;
  const { manifest } = origin;
  const { guest } = manifest;
  await requireMemory(manifest.memory.assignedBytes, `freezing "${name}"`);
  const staging = paths.substrateStaging(name, newId());
  const ram = `${staging.ram}.captured`;
  try {
    await mkdir(staging.dir, { recursive: true, mode: 0o700 });
    const prepared = await prepareToFreeze(channels, guest, progress, { timeoutMs: STEP_TIMEOUT_MS, signal });
    progress("freeze", "RAM, device state and disk in one pause");
    await settle(channels, guest, signal);
    const flatten = () => flat(overlay, staging.disk, signal);
    const files = { ram, state: staging.state };
    await captureRunning(instance, files, { isLive: false, atInstant: flatten, signal });
    progress("digest", "SHA-256 of every file");
    const { residentBytes, ...copied } = await copySparse(ram, staging.ram, signal);
    await rm(ram);
    for (const file of ["helper", ...bootFilesOf(guest)] as const) await copyFile(origin.paths[file], staging[file]);
    const version = await new Catalog(paths).nextVersion(name);
    const substrate = await sealSubstrate(
      {
        name,
        version,
        inputsKey: `frozen-${randomUUID()}`, // nothing else is made of it
        accelerator: manifest.accelerator,
        guest,
        ram: copied,
        state: await digestFile(staging.state),
        residentBytes,
        devices: manifest.devices,
        prepared,
      },
      staging,
      deps,
    );
    progress("done", `${name} ${version}`);
    return substrate;
  } finally {
    await rm(staging.dir, { recursive: true, force: true });
  }
}

/** QEMU has the overlay open, and has written all of it: it does so whenever a guest is stopped. Hence `-U`. */
async function flat(overlay: string, disk: string, signal: AbortSignal): Promise<void> {
  const options = ["-U", "-f", "qcow2", "-O", "qcow2", "-o", `cluster_size=${CLUSTER_BYTES}`];
  await runTool(["qemu-img", "convert", ...options, overlay, disk], { timeoutMs: FLATTEN_TIMEOUT_MS, signal });
}
