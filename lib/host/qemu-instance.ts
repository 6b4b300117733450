import { chmod, mkdir, rm } from "node:fs/promises";
import type { Logger } from "../core/index.ts";
import { QmpClient } from "../qmp/index.ts";
import type { VmPaths } from "./paths.ts";
import { qemuArgv } from "./qemu-argv.ts";
import type { QemuBinary } from "./qemu-binary.ts";
import { QemuProcess } from "./qemu-process.ts";
import type { VmConfig } from "./vm-config.ts";

/** From spawn to the QMP greeting: 30-45 ms when idle; this is for a machine under heavy load. */
const GREETING_TIMEOUT_MS = 15_000;

export interface LaunchOptions {
  readonly qemu: QemuBinary;
  readonly config: VmConfig;
  readonly paths: VmPaths;
  readonly logger: Logger;
  readonly signal?: AbortSignal | undefined;
  readonly inheritFds?: readonly number[];
}

/** A QEMU process and its monitor. Closing it ends the process and removes its folders. */
export class QemuInstance implements AsyncDisposable {
  readonly process: QemuProcess;
  readonly qmp: QmpClient;
  readonly paths: VmPaths;
  readonly #owned: AsyncDisposable;

  private constructor(process: QemuProcess, qmp: QmpClient, paths: VmPaths, owned: AsyncDisposable) {
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
    const { qemu, config, paths } = options;
    await using undo = new AsyncDisposableStack();
    const argv = qemuArgv(config);
    const inheritFds = options.inheritFds ?? [];
    const process = undo.use(await QemuProcess.spawn({ binary: qemu.path, argv, logFile: paths.log, inheritFds }));
    const started = new AbortController(); // ends the attempts to connect when there is nobody to connect to
    undo.defer(() => started.abort());
    const connecting = QmpClient.connect(paths.qmp, {
      timeoutMs: GREETING_TIMEOUT_MS,
      signal: options.signal === undefined ? started.signal : AbortSignal.any([options.signal, started.signal]),
      logger: options.logger,
      retryUntilPresent: true,
    });
    const qmp = undo.use(await process.guard("start", connecting));
    for (const socket of [paths.qmp, paths.agent, paths.helper]) await chmod(socket, 0o600);
    return new QemuInstance(process, qmp, paths, undo.move());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]();
  }
}
