import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LineSocket, type LineSocketClose } from "../../lib/qmp/index.ts";
import { type FakePeer, type FakeProtocol, FakeServer } from "../support/fake-line-server.ts";

const silent: FakeProtocol = () => ({ onLine: () => {} });
const saying =
  (say: (peer: FakePeer) => void): FakeProtocol =>
  (peer) => {
    say(peer);
    return { onLine: () => {} };
  };

function closeOf(socket: LineSocket): Promise<LineSocketClose> {
  const { promise, resolve } = Promise.withResolvers<LineSocketClose>();
  socket.onClose(resolve);
  return promise;
}

function linesOf(socket: LineSocket, count: number): Promise<string[]> {
  const { promise, resolve } = Promise.withResolvers<string[]>();
  const lines: string[] = [];
  socket.onLine((line) => {
    if (lines.push(line.toString()) === count) resolve(lines);
  });
  return promise;
}

describe("LineSocket.connect", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "line-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it("refuses a path that Node would silently cut, before anything is touched", async () => {
    const path = join(directory, "x".repeat(107 - directory.length));
    expect(Buffer.byteLength(path)).toBe(108);
    await expect(LineSocket.connect(path)).rejects.toMatchObject({ code: "PATH_TOO_LONG", details: { bytes: 108 } });
  });

  it("accepts the longest path that the kernel takes, counted in bytes", async () => {
    const room = 107 - Buffer.byteLength(directory) - 1;
    const path = join(directory, "é".repeat(Math.floor(room / 2)) + "x".repeat(room % 2));
    expect(Buffer.byteLength(path)).toBe(107);
    await using server = await FakeServer.listen(silent, path);
    expect(existsSync(path)).toBe(true);
    await using socket = await LineSocket.connect(server.path);
    expect(socket.closeCause).toBeUndefined();
  });

  it("refuses an empty path, and one with a NUL, which would name an abstract socket", async () => {
    await expect(LineSocket.connect("")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(LineSocket.connect("\0abstract")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("fails at once where nobody listens", async () => {
    const nobody = LineSocket.connect(join(directory, "none"));
    await expect(nobody).rejects.toMatchObject({ code: "QMP_CONNECT", details: { errno: "ENOENT" } });
  });

  it("speaks the error codes of the protocol on top of it", async () => {
    const codes = { connect: "GUEST_HELPER_FAILED", closed: "GUEST_HELPER_FAILED" } as const;
    const nobody = LineSocket.connect(join(directory, "none"), { codes });
    await expect(nobody).rejects.toMatchObject({ code: "GUEST_HELPER_FAILED" });
  });

  it("waits for a server that is still starting when told to", async () => {
    const path = join(directory, "late");
    const connecting = LineSocket.connect(path, { retryUntilPresent: true });
    await nextTurn();
    await using server = await FakeServer.listen(silent, path);
    await using socket = await connecting;
    expect(socket.path).toBe(server.path);
  });

  it("gives up on a server that never starts", async () => {
    const connecting = LineSocket.connect(join(directory, "never"), { retryUntilPresent: true, timeoutMs: 30 });
    await expect(connecting).rejects.toMatchObject({ code: "QMP_CONNECT", details: { timeoutMs: 30 } });
  });

  it("can be aborted, before and while it waits", async () => {
    const path = join(directory, "never");
    await expect(LineSocket.connect(path, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
    const controller = new AbortController();
    const waiting = LineSocket.connect(path, { retryUntilPresent: true, signal: controller.signal });
    await nextTurn();
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: "ABORTED" });
  });
});

describe("LineSocket", () => {
  it("loses no line that came before somebody listened", async () => {
    await using server = await FakeServer.listen(saying((peer) => peer.send("one\ntwo\nthree\n")));
    await using socket = await LineSocket.connect(server.path);
    for (let turn = 0; turn < 5; turn++) await nextTurn();
    expect(await linesOf(socket, 3)).toEqual(["one", "two", "three"]);
  });

  it("delivers the lines that came before EOF, then closes", async () => {
    const farewell = saying((peer) => {
      peer.send("last words\nunfinished");
      peer.end();
    });
    await using server = await FakeServer.listen(farewell);
    await using socket = await LineSocket.connect(server.path);
    const order: string[] = [];
    const closed = closeOf(socket).then(() => order.push("close"));
    socket.onLine((line) => order.push(line.toString()));
    await closed;
    expect(order).toEqual(["last words", "close"]);
    expect(socket.closeCause).toEqual({ reason: "eof" });
  });

  it("notices EOF although nobody listens for lines", async () => {
    await using server = await FakeServer.listen(saying((peer) => peer.end()));
    await using socket = await LineSocket.connect(server.path);
    expect(await closeOf(socket)).toEqual({ reason: "eof" });
  });

  it("refuses a second listener for lines", async () => {
    await using server = await FakeServer.listen(silent);
    await using socket = await LineSocket.connect(server.path);
    socket.onLine(() => {});
    expect(() => socket.onLine(() => {})).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("tells each close listener once, also one that comes later", async () => {
    await using server = await FakeServer.listen(silent);
    await using socket = await LineSocket.connect(server.path);
    const causes: string[] = [];
    socket.onClose(({ reason }) => causes.push(reason));
    await socket.close();
    await socket.close();
    expect(await closeOf(socket)).toEqual({ reason: "local" });
    expect(causes).toEqual(["local"]);
  });

  it("disconnects from a peer that sends 20 MB without a newline, quickly", async () => {
    await using server = await FakeServer.listen(saying((peer) => peer.send(Buffer.alloc(20_000_000, "x"))));
    const started = performance.now();
    await using socket = await LineSocket.connect(server.path);
    socket.onLine(() => {});
    expect(await closeOf(socket)).toEqual({ reason: "line-too-long", maxLineBytes: 1024 * 1024 });
    expect(performance.now() - started).toBeLessThan(1_000);
  });

  it("applies a cap that was changed on the way to the next line", async () => {
    await using server = await FakeServer.listen(saying((peer) => peer.send("12345678\n12345678\n")));
    await using socket = await LineSocket.connect(server.path, { maxLineBytes: 8 });
    socket.onLine(() => {
      socket.maxLineBytes = 7;
    });
    expect(await closeOf(socket)).toEqual({ reason: "line-too-long", maxLineBytes: 7 });
  });

  it("ends the connection when its listener throws, rather than the process", async () => {
    await using server = await FakeServer.listen(saying((peer) => peer.send("x\n")));
    await using socket = await LineSocket.connect(server.path);
    socket.onLine(() => {
      throw new Error("oops");
    });
    expect(await closeOf(socket)).toMatchObject({ reason: "error", error: { message: "oops" } });
  });

  it("delivers nothing after close, although the chunk had more", async () => {
    await using server = await FakeServer.listen(saying((peer) => peer.send("1\n2\n3\n")));
    await using socket = await LineSocket.connect(server.path);
    const lines: string[] = [];
    socket.onLine((line) => {
      lines.push(line.toString());
      void socket.close();
    });
    await closeOf(socket);
    expect(lines).toEqual(["1"]);
  });

  it("makes a writer wait for a peer that does not read, and refuses an endless queue", async () => {
    await using server = await FakeServer.listen(silent);
    await using socket = await LineSocket.connect(server.path);
    const peer = await server.connection();
    peer.pause();
    const megabytes = Buffer.alloc(15 * 1024 * 1024, "x");
    let written = false;
    const writing = socket.write(megabytes).then(() => {
      written = true;
    });
    await nextTurn();
    expect(written).toBe(false);
    await expect(socket.write(Buffer.alloc(2 * 1024 * 1024))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    peer.removeAllListeners("data");
    peer.resume();
    await writing;
    expect(written).toBe(true);
  });

  it("rejects writes that are queued when the connection ends, and those after it", async () => {
    await using server = await FakeServer.listen(silent);
    await using socket = await LineSocket.connect(server.path);
    const peer = await server.connection();
    peer.pause();
    const writing = expect(socket.write(Buffer.alloc(4_000_000))).rejects.toMatchObject({ code: "QMP_CLOSED" });
    await nextTurn();
    peer.destroy();
    await writing;
    await expect(socket.write("x\n")).rejects.toMatchObject({ code: "QMP_CLOSED" });
  });

  it("leaves no connection behind when it is closed", async () => {
    await using server = await FakeServer.listen(silent);
    const socket = await LineSocket.connect(server.path);
    const peer = await server.connection();
    const gone = once(peer, "close");
    await socket.close();
    await gone;
    expect(server.connections).toBe(0);
  });
});
