import { describe, expect, it } from "vitest";
import { Reconnecting } from "../../lib/core/index.ts";

class Connection implements AsyncDisposable {
  isOpen = true;
  disposals = 0;

  async [Symbol.asyncDispose](): Promise<void> {
    this.isOpen = false;
    this.disposals++;
  }
}

/** Connections that are made when the test says so. */
class Peer {
  readonly attempts: PromiseWithResolvers<Connection>[] = [];
  readonly lasting: Reconnecting<Connection>;

  constructor(current?: Connection) {
    const connect = () => {
      const attempt = Promise.withResolvers<Connection>();
      this.attempts.push(attempt);
      return attempt.promise;
    };
    this.lasting = new Reconnecting({ connect, isOpen: ({ isOpen }) => isOpen }, current);
  }
}

describe("a connection", () => {
  it("that there is already is used as long as it is open", async () => {
    const first = new Connection();
    const peer = new Peer(first);
    expect(await peer.lasting.get()).toBe(first);
    first.isOpen = false;
    const next = peer.lasting.get();
    const second = new Connection();
    peer.attempts[0]?.resolve(second);
    expect(await next).toBe(second);
    expect(await peer.lasting.get()).toBe(second);
    expect(peer.attempts).toHaveLength(1);
  });

  it("is made once for all who need it at the same time", async () => {
    const peer = new Peer();
    const asked = [peer.lasting.get(), peer.lasting.get(), peer.lasting.get()];
    expect(peer.attempts).toHaveLength(1);
    peer.attempts[0]?.resolve(new Connection());
    expect(new Set(await Promise.all(asked)).size).toBe(1);
  });

  it("that could not be made fails all who waited for it, and is tried again by the next", async () => {
    const peer = new Peer();
    const asked = [peer.lasting.get(), peer.lasting.get()];
    peer.attempts[0]?.reject(new Error("refused"));
    for (const one of asked) await expect(one).rejects.toThrow("refused");
    const again = peer.lasting.get();
    const connection = new Connection();
    peer.attempts[1]?.resolve(connection);
    expect(await again).toBe(connection);
  });
});

describe("disposal", () => {
  it("closes the connection, and fails later calls with its reason", async () => {
    const connection = new Connection();
    const peer = new Peer(connection);
    await peer.lasting.dispose(new Error("the VM is gone"));
    await peer.lasting.dispose(new Error("another reason"));
    await peer.lasting[Symbol.asyncDispose]();
    expect(connection.disposals).toBe(1);
    await expect(peer.lasting.get()).rejects.toThrow("the VM is gone");
    expect(peer.attempts).toEqual([]);
  });

  it("closes a connection that is made only afterwards, and fails who waited for it", async () => {
    const peer = new Peer();
    const asked = peer.lasting.get();
    await peer.lasting.dispose(new Error("the VM is gone"));
    const late = new Connection();
    peer.attempts[0]?.resolve(late);
    await expect(asked).rejects.toThrow("the VM is gone");
    expect(late.disposals).toBe(1);
  });

  it("does not wait for a connection that is never made, and fails who waits for it at once", async () => {
    const peer = new Peer();
    const asked = peer.lasting.get();
    await peer.lasting.dispose(new Error("the VM is gone"));
    await expect(asked).rejects.toThrow("the VM is gone");
  }, 1000);
});
