import { createHash } from "node:crypto";
import { addAbortListener, once } from "node:events";
import { chmod, open, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { VmSubstrateError, withDeadline } from "../core/index.ts";
import type { QemuInstance } from "../host/index.ts";
import type { FileDigest } from "./manifest.ts";

const FREEZE_TIMEOUT_MS = 30_000;
const POLL_MS = 5;
/**
 * Stops the guest and saves its device state, with its RAM left in the shared RAM file and its disk flushed: all three
 * belong to one instant. QEMU stays paused; its disk is closed for writing.
 *
 * The guest has its link, because what a guest does when a link comes up would otherwise be done in every clone. What keeps
 * clones apart is that their NIC's hub leads nowhere until they are plugged in.
 *
 * @throws VmSubstrateError BUILD_FAILED, QMP_COMMAND_FAILED, QEMU_EXITED, TIMEOUT, ABORTED
 */
export async function freeze(
  instance: QemuInstance,
  stateFile: string,
  signal: AbortSignal | undefined,
): Promise<FileDigest> {
  const { qmp, paths } = instance;
  return withDeadline({ what: "freeze", timeoutMs: FREEZE_TIMEOUT_MS, signal }, async (inner) => {
    await qmp.execute("stop", {}, { signal: inner });
    await using receiver = await StateReceiver.listen(paths.migration);
    const receiving = receiver.receive(stateFile, inner);
    receiving.catch(() => {});
    // RAM in a shared, named file stays where it is. Source: QEMU docs, "VM templating".
    const capabilities = [{ capability: "x-ignore-shared", state: true }];
    await qmp.execute("migrate-set-capabilities", { capabilities }, { signal: inner });
    await qmp.execute("migrate", { uri: `unix:${paths.migration}` }, { signal: inner });
    await awaitMigration(instance, inner);
    return receiving;
  });
}

async function awaitMigration(instance: QemuInstance, signal: AbortSignal): Promise<void> {
  for (;;) {
    const info = await instance.qmp.execute("query-migrate", {}, { signal });
    if (info.status === "completed") return;
    if (info.status === "failed" || info.status === "cancelled") {
      const message = `QEMU could not save its state: ${info["error-desc"] ?? info.status}`;
      throw new VmSubstrateError("BUILD_FAILED", message);
    }
    await delay(POLL_MS, undefined, { signal });
  }
}

/** QEMU 7.2 has no `file:` target and `exec:` is shut by the sandbox: the stream comes over a socket of ours. */
class StateReceiver implements AsyncDisposable {
  readonly #server: Server;
  readonly #path: string;
  readonly #connection: Promise<Socket>;

  private constructor(server: Server, path: string) {
    this.#server = server;
    this.#path = path;
    this.#connection = once(server, "connection").then(([socket]) => socket as Socket);
    this.#connection.catch(() => {});
  }

  static async listen(path: string): Promise<StateReceiver> {
    const server = createServer({ pauseOnConnect: true });
    const receiver = new StateReceiver(server, path);
    server.listen(path);
    await once(server, "listening");
    await chmod(path, 0o600);
    return receiver;
  }

  /** Writes the one stream to a new file, synced to its disk. */
  async receive(file: string, signal: AbortSignal): Promise<FileDigest> {
    const socket = await this.#connection;
    using end = new DisposableStack();
    end.defer(() => socket.destroy());
    end.use(addAbortListener(signal, () => socket.destroy())); // also when it is aborted already
    await using target = await open(file, "wx", 0o600);
    const hash = createHash("sha256");
    let sizeBytes = 0;
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      hash.update(chunk);
      sizeBytes += chunk.length;
      await target.writeFile(chunk);
    }
    await target.sync();
    return { sha256: hash.digest("hex"), sizeBytes };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    await rm(this.#path, { force: true });
  }
}
