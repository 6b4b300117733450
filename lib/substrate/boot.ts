import { randomUUID } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { isVmSubstrateError, MIB, messageOf, newId, VmSubstrateError } from "../core/index.ts";
import {
  type Accelerator,
  cpuModelFor,
  QemuInstance,
  requireMemory,
  requireSharedMemory,
  takeConsole,
  type VmConfig,
} from "../host/index.ts";
import { CarriedHelper, ResidentHelper } from "../netcfg/index.ts";
import { GuestAgent } from "../qmp/index.ts";
import type { BootDependencies } from "./boot-dependencies.ts";
import { machineConfig } from "./machine.ts";
import type { GuestChannels } from "./ready/index.ts";
import type { GuestProfile } from "./recipe.ts";

const CONNECT_TIMEOUT_MS = 5000;
const CONSOLE_TIMEOUT_MS = 1000;
const CONSOLE_TAIL_BYTES = 4096;

export interface BootOptions {
  readonly guest: GuestProfile;
  /** One of these, or neither for a guest that boots by SeaBIOS. */
  readonly kernel?: NonNullable<VmConfig["kernel"]>;
  readonly firmware?: NonNullable<VmConfig["firmware"]>;
  /** An image that is attached read-only. */
  readonly seed?: string | undefined;
  /** The helper as a program, for a guest that has none of its own. */
  readonly helperProgram?: string;
  /** A qcow2 of its own, which the guest writes to. */
  readonly disk: string;
  readonly accelerator: Accelerator;
}

/** A guest that was booted to be made into something. Ending it leaves its disk, and nothing else. */
export class BootedGuest implements AsyncDisposable {
  readonly instance: QemuInstance;
  readonly channels: GuestChannels;
  readonly config: VmConfig;
  /** Its RAM, on the shared-memory file system. */
  readonly ram: string;
  readonly #owned: AsyncDisposableStack;

  private constructor(instance: QemuInstance, channels: GuestChannels, config: VmConfig, owned: AsyncDisposableStack) {
    this.instance = instance;
    this.channels = channels;
    this.config = config;
    this.ram = config.memory.file;
    this.#owned = owned;
  }

  /** @throws VmSubstrateError INSUFFICIENT_*, QEMU_*, GUEST_AGENT_*, TIMEOUT, ABORTED */
  static async boot(options: BootOptions, deps: BootDependencies): Promise<BootedGuest> {
    const { guest, accelerator } = options;
    const { paths, signal } = deps;
    const id = newId();
    const vmPaths = paths.vm(id);
    const ram = paths.buildRam(id);
    const assignedBytes = guest.memoryMiB * MIB;
    const purpose = `booting a guest of ${guest.memoryMiB} MiB`;
    await requireSharedMemory(paths.sharedMemoryRoot, assignedBytes, purpose);
    await requireMemory(assignedBytes, purpose);
    await using undo = new AsyncDisposableStack();
    undo.defer(() => rm(ram, { force: true }));
    undo.defer(() => QemuInstance.removeFolders(vmPaths));
    await QemuInstance.prepareFolders(vmPaths);
    const config = machineConfig({
      id,
      uuid: randomUUID(),
      accelerator,
      cpuModel: cpuModelFor(accelerator),
      guest,
      paths: vmPaths,
      ram: { file: ram, share: true },
      disk: { file: options.disk },
      ...(options.kernel === undefined ? {} : { kernel: options.kernel }),
      ...(options.firmware === undefined ? {} : { firmware: options.firmware }),
      seed: options.seed,
    });
    const instance = undo.use(await QemuInstance.launch({ ...deps, config, paths: vmPaths }));
    const connect = { timeoutMs: CONNECT_TIMEOUT_MS, signal };
    const agent = undo.use(await GuestAgent.connect(vmPaths.agent, connect));
    const helper = undo.use(
      guest.helper || options.helperProgram === undefined
        ? await ResidentHelper.connect(vmPaths.helper, connect)
        : new CarriedHelper(agent, await readFile(options.helperProgram)),
    );
    return new BootedGuest(instance, { agent, helper }, config, undo.move());
  }

  /**
   * Does something with the guest. When that fails, the guest's last words say more than the error does.
   * @throws VmSubstrateError BUILD_FAILED with the console's tail, QEMU_EXITED, ABORTED
   */
  async during<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    return this.instance.process.guard("build", work).catch(async (error: unknown) => {
      throw await this.#explained(error, signal);
    });
  }

  async #explained(error: unknown, signal: AbortSignal | undefined): Promise<unknown> {
    if (signal?.aborted || isVmSubstrateError(error, "BUILD_FAILED") || isVmSubstrateError(error, "QEMU_EXITED"))
      return error;
    const said = await takeConsole(this.instance.qmp, { timeoutMs: CONSOLE_TIMEOUT_MS }).catch(() => Buffer.alloc(0));
    const tail = said.subarray(-CONSOLE_TAIL_BYTES).toString("utf8");
    const message = `the guest did not become a substrate: ${messageOf(error)}; its console ends with: ${JSON.stringify(tail)}`;
    return new VmSubstrateError("BUILD_FAILED", message, { cause: error });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync();
  }
}
