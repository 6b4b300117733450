import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, it } from "vitest";
import type { QemuInstance } from "../../lib/host/index.ts";
import { captureRunning } from "../../lib/substrate/capture.ts";

/** A monitor that connects to whom it is told to migrate to, and stands before the switchover then. */
function standingStill(migration: string, connections: Socket[]): QemuInstance {
  let status = "none";
  const commands: Readonly<Record<string, () => Promise<unknown>>> = {
    migrate: async () => {
      const socket = createConnection(migration);
      connections.push(socket.on("error", () => {}));
      await once(socket, "connect");
      status = "pre-switchover";
    },
    "query-migrate": async () => ({ status }),
    migrate_cancel: async () => {
      status = "cancelled";
    },
  };
  const qmp = { execute: async (command: string) => commands[command]?.() };
  return { qmp, paths: { migration } } as unknown as QemuInstance;
}

it.each(Array.from({ length: 12 }, (_, turns) => turns))(
  "a capture that is aborted %i turns of the event loop after QEMU connected ends, and hangs up",
  async (turns) => {
    await using stack = new AsyncDisposableStack();
    const dir = await mkdtemp(join(tmpdir(), "capture-"));
    stack.defer(() => rm(dir, { recursive: true, force: true }));
    const connections: Socket[] = [];
    stack.defer(() => {
      for (const socket of connections) socket.destroy();
    });
    const instance = standingStill(join(dir, "migration"), connections);
    const aborting = new AbortController();
    const atInstant = async () => {
      for (let i = 0; i < turns; i++) await nextTurn();
      aborting.abort(new Error("given up"));
      aborting.signal.throwIfAborted();
    };
    const files = { ram: join(dir, "ram"), state: join(dir, "state") };
    const options = { isLive: false, atInstant, signal: aborting.signal };
    await expect(captureRunning(instance, files, options)).rejects.toThrow("given up");
    const [socket] = connections;
    socket?.resume();
    if (socket?.readableEnded === false) await once(socket, "close");
  },
);
