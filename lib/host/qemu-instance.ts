import { chmod, mkdir, rm } from "node:fs/promises";
import type { Logger } from "../core/index.ts";
import { QmpClient } from "../qmp/index.ts";
import type { ForkServer } from "./fork-server.ts";
import { Monitor } from "./monitor.ts";
import type { VmPaths } from "./paths.ts";
import type { ProcessName, SpawnRequest } from "./process-handle.ts";
import { qemuArgv, vmName } from "./qemu-argv.ts";
import type { QemuBinary } from "./qemu-binary.ts";
import { QemuProcess } from "./qemu-process.ts";
import type { VmConfig } from "./vm-config.ts";

/** From spawn to the QMP greeting: 30-45 ms when idle; this is for a machine under heavy load. */
const GREETING_TIMEOUT_MS = 15_000;

export interface AdoptOptions {
  readonly process: ProcessName;
  readonly paths: VmPaths;
  readonly logger: Logger;
}

interface ConnectOptions {
  readonly paths: VmPaths;
  readonly logger: Logger;
  readonly signal?: AbortSignal | undefined;
}

export interface ForkOptions extends ConnectOptions {
  /** The zygote's own, but for its name and what is in its folders. */
  readonly config: VmConfig;
}

export interface LaunchOptions extends ForkOptions {
  readonly qemu: QemuBinary;
  /** Files that QEMU finds open for reading at its descriptors 3, 4, ... */
  readonly inheritFiles?: readonly string[];
  readonly forkServer?: ForkServer | undefined;
}

function requestOf({ qemu, config, paths, inheritFiles = [] }: LaunchOptions): SpawnRequest {
  return { binary: qemu.path, argv: qemuArgv(config), logFile: paths.log, inheritFiles };
}

/** A QEMU process and its monitor. Closing it ends the process and removes its folders. */
export class QemuInstance implements AsyncDisposable {
  readonly process: QemuProcess;
  readonly qmp: Monitor;
  readonly paths: VmPaths;
  readonly #owned: AsyncDisposable;

  private constructor(process: QemuProcess, qmp: Monitor, paths: VmPaths, owned: AsyncDisposable) {
    this.process = process;
    this.qmp = qmp;
    this.paths = paths;
    this.#owned = owned;
  }

  /** Makes a VM's two folders: durable files, and sockets. Undo is `removeFolders`. */
  static async prepareFolders(paths: VmPaths): Promise<void> {
    await mkdir(paths.dir, { mode: 0o700 });
    await mkdir(paths.sockets, { mode: 0o700 });
  }

  static async removeFolders(paths: VmPaths): Promise<void> {
    await rm(paths.sockets, { recursive: true, force: true });
    await rm(paths.dir, { recursive: true, force: true });
  }

  /**
   * Starts QEMU in prepared folders and connects its monitor.
   * @throws VmSubstrateError QEMU_MISSING, QEMU_EXITED, QMP_CONNECT, TIMEOUT, ABORTED; nothing is left running
   */
  static async launch(options: LaunchOptions): Promise<QemuInstance> {
    return QemuInstance.#connected(
      await QemuProcess.spawn({ ...requestOf(options), forkServer: options.forkServer }),
      options,
    );
  }

  /**
   * As `launch`, of a QEMU that `fork` can make copies of. It works in its folder: files that its configuration names by themselves are there,
   * and a copy's in the copy's.
   *
   * @returns undefined where there is no fork server
   */
  static async launchZygote(options: LaunchOptions & { forkServer: ForkServer }): Promise<QemuInstance | undefined> {
    const process = await QemuProcess.spawnZygote(requestOf(options), options.paths, options.forkServer);
    return process && QemuInstance.#connected(process, options);
  }

  /**
   * A copy of a zygote as it is at this moment, in prepared folders, which have whatever files it has open for writing.
   * Nobody may be connected to it.
   *
   * @returns undefined where that cannot be made
   * @throws VmSubstrateError QEMU_EXITED, QMP_CONNECT, TIMEOUT, ABORTED, the system's error; nothing is left running
   */
  static async fork(zygote: QemuProcess, options: ForkOptions): Promise<QemuInstance | undefined> {
    const { config, paths } = options;
    const { id, uuid } = config;
    const name = vmName(id);
    const order = { dir: paths.dir, sockets: paths.sockets, logFile: paths.log, name, uuid, argv: qemuArgv(config) };
    const process = await zygote.fork(order);
    return process && QemuInstance.#connected(process, options);
  }

  static async #connected(running: QemuProcess, options: ConnectOptions): Promise<QemuInstance> {
    const { paths } = options;
    await using undo = new AsyncDisposableStack();
    const process = undo.use(running);
    const started = new AbortController(); // ends the attempts to connect when there is nobody to connect to
    undo.defer(() => started.abort());
    const connecting = QmpClient.connect(paths.qmp, {
      timeoutMs: GREETING_TIMEOUT_MS,
      signal: options.signal === undefined ? started.signal : AbortSignal.any([options.signal, started.signal]),
      logger: options.logger,
      retryUntilPresent: true,
    });
    const client = await process.guard("start", connecting);
    const qmp = undo.use(new Monitor({ path: paths.qmp, logger: options.logger, client }));
    for (const socket of [paths.qmp, paths.agent, paths.helper]) await chmod(socket, 0o600);
    return new QemuInstance(process, qmp, paths, undo.move());
  }

  /**
   * Takes over a QEMU that an earlier owner of the state directory started. Its monitor is connected by the first command:
   * a process that does not answer is still ours.
   *
   * @returns undefined when the process has ended
   */
  static async adopt(options: AdoptOptions): Promise<QemuInstance | undefined> {
    const { paths, logger } = options;
    const process = await QemuProcess.adopt(options.process, paths.log);
    if (process === undefined) return undefined;
    const qmp = new Monitor({ path: paths.qmp, logger });
    const owned = new AsyncDisposableStack();
    owned.use(process);
    owned.use(qmp);
    return new QemuInstance(process, qmp, paths, owned);
  }

  /** Closes the monitor and leaves the process to the next owner. */
  async detach(): Promise<void> {
    this.process.detach();
    await this.qmp[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]();
  }
}
