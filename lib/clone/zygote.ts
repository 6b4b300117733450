import { constants, copyFile } from "node:fs/promises";
import { basename } from "node:path";
import { VmSubstrateError } from "../core/index.ts";
import { createOverlay, type ForkServer, QemuInstance, type VmPaths } from "../host/index.ts";
import type { LoadedSubstrate } from "../substrate/index.ts";
import { channelTo } from "./channel.ts";
import { Clone } from "./clone.ts";
import { cloneConfig } from "./clone-config.ts";
import type { CloneDependencies } from "./dependencies.ts";
import { GuestLink } from "./guest-link.ts";
import { loadState } from "./load-state.ts";
import type { ClonePlan } from "./plan.ts";
import { warm } from "./priming.ts";
import type { Forkable } from "./zygote-source.ts";

type Names = Pick<ClonePlan, "id" | "uuid">;

/**
 * A clone that nobody will claim: it has run all that a claim will run, with an identity that is no VM's, and is paused for good. A
 * fork of its process is a clone that is warm from the beginning, and shares with it the guest's memory and the guest's code as it was
 * translated. See docs/adr/0025-zygotes.md.
 */
export class Zygote implements Forkable, AsyncDisposable {
  readonly #instance: QemuInstance;
  readonly #substrate: LoadedSubstrate;
  readonly #deps: CloneDependencies;
  readonly #owned: AsyncDisposable;

  private constructor(
    instance: QemuInstance,
    substrate: LoadedSubstrate,
    deps: CloneDependencies,
    owned: AsyncDisposable,
  ) {
    this.#instance = instance;
    this.#substrate = substrate;
    this.#deps = deps;
    this.#owned = owned;
  }

  /** Of KVM's virtual machines there is one for each process, and a generation ID is decided when a process is started. */
  static isPossible({ manifest, instants }: LoadedSubstrate): boolean {
    if (manifest.accelerator !== "tcg" || manifest.guest.identity.vmGenerationId) return false;
    // What it warms is the way by the resident helper. What forks of a VM are made of is used once.
    return channelTo(manifest, "helper") === "helper" && instants.length === 0;
  }

  /**
   * Takes as long as priming a clone does. On failure nothing is left.
   *
   * @returns undefined where processes cannot be forked
   * @throws VmSubstrateError as `launchClone`, IDENTITY_UNVERIFIED, GUEST_*
   */
  static async make(
    names: Names,
    substrate: LoadedSubstrate,
    deps: CloneDependencies & { readonly forkServer: ForkServer },
    signal: AbortSignal,
  ): Promise<Zygote | undefined> {
    const { manifest } = substrate;
    const paths = deps.paths.vm(names.id);
    const { state, disk, helper: helperProgram } = substrate.substrate.paths;
    await using undo = new AsyncDisposableStack();
    await substrate.requireUntouched();
    undo.defer(() => QemuInstance.removeFolders(paths));
    await QemuInstance.prepareFolders(paths);
    await createOverlay(paths.overlay, disk, manifest.diskSizeBytes);
    const config = cloneConfig(names, substrate, paths, basename(paths.overlay));
    const instance = await QemuInstance.launchZygote({ ...deps, config, paths, signal, inheritFiles: [state] });
    if (instance === undefined) return undefined;
    undo.use(instance);
    // Nobody is connected to a zygote: its copies then wait for whoever connects to them.
    await using guest = await GuestLink.connect({ paths, channel: "helper", helperProgram });
    await loadState(instance, signal);
    await instance.process.guard("warming", warmUntilPaused(new Clone(instance, guest, instance), substrate, signal));
    await instance.qmp[Symbol.asyncDispose]();
    return new Zygote(instance, substrate, deps, undo.move());
  }

  get pid(): number {
    return this.#instance.process.pid;
  }

  /** Settles when its process has ended; its forks run on. */
  get ended(): Promise<unknown> {
    return this.#instance.process.exited;
  }

  /** QEMU wrote all of it to its file when the zygote was paused. */
  async copyDisk(overlay: string): Promise<void> {
    await copyFile(this.#instance.paths.overlay, overlay, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  }

  async fork(names: Names, paths: VmPaths, signal: AbortSignal): Promise<QemuInstance> {
    const config = cloneConfig(names, this.#substrate, paths);
    const { logger } = this.#deps;
    const fork = await QemuInstance.fork(this.#instance.process, { config, paths, logger, signal });
    if (fork === undefined) throw new VmSubstrateError("QEMU_EXITED", "the zygote's fork server has ended");
    return fork;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]();
  }
}

async function warmUntilPaused(clone: Clone, { manifest }: LoadedSubstrate, signal: AbortSignal): Promise<void> {
  const { qmp } = clone.instance;
  await qmp.execute("cont", {}, { signal });
  await warm(clone, manifest, signal);
  await qmp.execute("stop", {}, { signal });
}
