import { isVmSubstrateError, type Logger, messageOf } from "../core/index.ts";
import { findExecutable, obstacleToPreload } from "./executable-file.ts";
import { forkServerLibrary } from "./fork-server-library.ts";
import { ForkServerProcess } from "./fork-server-process.ts";
import type { ForkedProcess } from "./forked-process.ts";
import { type ProcessHandle, type SpawnRequest, spawnProcess, type VmPlace } from "./process-handle.ts";

/** Of one process, each with a new server; the last resort is to start it without one. */
const START_ATTEMPTS = 2;
/** Servers that end by themselves: after so many, processes are started without one. */
const MAX_LOST_SERVERS = 5;

export interface ForkServerOptions {
  /** QEMU, by a path or a name on the PATH. */
  readonly binary: string;
  /** Keeps the compiled library; made private. */
  readonly libraryDir: string;
  readonly logger: Logger;
}

/**
 * Starts processes of one program by forking one that has loaded its libraries: see docs/adr/0013-fork-server.md.
 *
 * It is an optimisation and never a reason to fail. Where it does not work (no compiler, a script or a static program in
 * QEMU's place), and when its process is lost, `spawn` starts an ordinary child. A lost one is replaced by the next `spawn`.
 * Closing it ends the server, and no process that it has started.
 */
export class ForkServer implements AsyncDisposable {
  readonly #options: ForkServerOptions;
  readonly #closing = new AbortController();
  #server: Promise<ForkServerProcess | undefined> | undefined;
  #lost = 0;

  private constructor(options: ForkServerOptions) {
    this.#options = options;
  }

  /** Begins in the background; nothing needs to wait for it. */
  static start(options: ForkServerOptions): ForkServer {
    const forkServer = new ForkServer(options);
    void forkServer.#running();
    return forkServer;
  }

  /** Whether processes are forked, rather than started as ordinary children. */
  async available(): Promise<boolean> {
    return (await this.#running()) !== undefined;
  }

  /**
   * @throws VmSubstrateError INVALID_ARGUMENT for more arguments than fit; the system's error where a file, memory or a
   *   process is missing
   */
  async spawn(request: SpawnRequest): Promise<ProcessHandle> {
    if (request.binary === this.#options.binary) {
      for (let attempt = 0; attempt < START_ATTEMPTS; attempt++) {
        const server = await this.#running();
        const handle = await server?.spawn(request);
        if (handle !== undefined) return handle;
        // It has ended, and before that it has started nothing.
        await server?.ended;
      }
    }
    return spawnProcess(request);
  }

  /**
   * A process that can be forked as it is, again and again: see docs/adr/0025-zygotes.md. It ends with its server.
   * @returns undefined where there is no server; errors as of `spawn`
   */
  async spawnZygote(request: SpawnRequest, place: VmPlace): Promise<ForkedProcess | undefined> {
    return (await this.#running())?.spawnZygote(request, place);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    const server = await this.#server;
    this.#server = Promise.resolve(undefined);
    await server?.close();
  }

  #running(): Promise<ForkServerProcess | undefined> {
    this.#server ??= this.#start();
    return this.#server;
  }

  async #start(): Promise<ForkServerProcess | undefined> {
    const { binary, libraryDir, logger } = this.#options;
    const { signal } = this.#closing;
    try {
      const executable = await findExecutable(binary);
      if (executable === undefined) throw new Error("it is not on the PATH");
      const obstacle = await obstacleToPreload(executable);
      if (obstacle !== undefined) throw new Error(obstacle);
      const library = await forkServerLibrary(libraryDir, signal);
      const server = await ForkServerProcess.start({ name: binary, executable, library }, signal);
      void server.ended.then(() => this.#onEnd());
      return server;
    } catch (error) {
      if (isVmSubstrateError(error, "ABORTED")) return undefined;
      logger.info({ binary, reason: messageOf(error) }, "no fork server: each process is started on its own");
      return undefined;
    }
  }

  #onEnd(): void {
    if (this.#closing.signal.aborted) return;
    this.#lost++;
    this.#server = this.#lost < MAX_LOST_SERVERS ? undefined : Promise.resolve(undefined);
    this.#options.logger.warn({ lost: this.#lost, limit: MAX_LOST_SERVERS }, "a fork server has ended; its VMs run on");
  }
}
