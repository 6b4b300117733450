import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What a conversation can do to its connection. */
export interface FakePeer {
  send(bytes: string | Uint8Array): void;
  /** EOF after what was sent. */
  end(): void;
  /** EOF at once. */
  destroy(): void;
}

/** One side of a line protocol, for one connection. Knows nothing of sockets. */
interface FakeConversation {
  onLine(line: Buffer): void;
  /** The connection ended. */
  onClose?(): void;
}

/** Begins a conversation; sends the greeting, if any. */
export type FakeProtocol = (peer: FakePeer) => FakeConversation;

/** Serves a protocol on a unix socket: `path`, or one in a directory of its own. */
export class FakeServer implements AsyncDisposable {
  readonly path: string;
  readonly #server: Server;
  readonly #directory: string | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #arrivals: Socket[] = [];
  #onArrival: (() => void) | undefined;

  private constructor(path: string, directory: string | undefined, protocol: FakeProtocol) {
    this.path = path;
    this.#directory = directory;
    this.#server = createServer((socket) => this.#serve(socket, protocol));
  }

  static async listen(protocol: FakeProtocol, at?: string): Promise<FakeServer> {
    const directory = at === undefined ? await mkdtemp(join(tmpdir(), "fake-")) : undefined;
    const server = new FakeServer(at ?? join(directory ?? "", "s"), directory, protocol);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.#server.once("error", reject);
    server.#server.listen(server.path, resolve);
    await promise;
    return server;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** Resolves with the next connection that nobody asked for yet, closed or not. */
  async connection(): Promise<Socket> {
    for (;;) {
      const socket = this.#arrivals.shift();
      if (socket) return socket;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onArrival = resolve;
      await promise;
    }
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    await promise;
    if (this.#directory) await rm(this.#directory, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #serve(socket: Socket, protocol: FakeProtocol): void {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {});
    const conversation = protocol({
      send: (bytes) => void (socket.writable && socket.write(bytes)),
      end: () => void socket.end(),
      destroy: () => void socket.destroy(),
    });
    let rest = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      for (let end = rest.indexOf("\n"); end !== -1; end = rest.indexOf("\n")) {
        const line = rest.subarray(0, end);
        rest = rest.subarray(end + 1);
        conversation.onLine(line);
      }
    });
    socket.on("close", () => conversation.onClose?.());
    this.#arrivals.push(socket);
    this.#onArrival?.();
  }
}

/** The same protocol, one byte at a time, each in its own turn of the event loop. */
export function dripping(protocol: FakeProtocol): FakeProtocol {
  return (peer) => {
    const queue: number[] = [];
    let busy = false;
    const drip = () => {
      const byte = queue.shift();
      busy = byte !== undefined;
      if (byte === undefined) return;
      peer.send(Uint8Array.of(byte));
      setImmediate(drip);
    };
    return protocol({
      ...peer,
      send: (bytes) => {
        queue.push(...Buffer.from(bytes));
        if (!busy) drip();
      },
    });
  };
}
