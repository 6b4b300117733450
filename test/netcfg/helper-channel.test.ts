import { describe, expect, it } from "vitest";
import { CarriedHelper, ResidentHelper } from "../../lib/netcfg/index.ts";
import { GuestAgent } from "../../lib/qmp/index.ts";
import { FakeHelper } from "../support/fake-helper.ts";
import { type FakePeer, FakeServer } from "../support/fake-line-server.ts";
import { FakeGuest } from "../support/fake-qemu-guest.ts";
import { FakeCommandError, FakeGuestAgent } from "../support/fake-qmp-server.ts";

const OPTIONS = { timeoutMs: 5000 };
const VERSION = [{ name: "version", value: "" }] as const;

/** A helper that a test answers by hand. */
class Manual {
  peer: FakePeer | undefined;
  readonly ids: string[] = [];
  #onRequest: (() => void) | undefined;

  readonly protocol = (peer: FakePeer) => {
    this.peer = peer;
    return {
      onLine: (line: Buffer) => {
        this.ids.push(line.toString().split(" ")[0] ?? "");
        this.#onRequest?.();
      },
    };
  };

  /** The id of the n-th request. */
  async id(n: number): Promise<string> {
    while (this.ids.length <= n) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onRequest = resolve;
      await promise;
    }
    return this.ids[n] ?? "";
  }
}

describe("ResidentHelper", () => {
  it("has operations done in order", async () => {
    const fake = new FakeHelper(new Map([["/x", Buffer.from("hi")]]));
    await using server = await FakeServer.listen(fake.protocol);
    await using helper = await ResidentHelper.connect(server.path, OPTIONS);
    const operations = [
      { name: "hostname", value: "n-1" },
      { name: "read", value: "/x" },
    ] as const;
    expect(await helper.request(operations, OPTIONS)).toEqual(["n-1", "/x,aGk="]);
    expect(await helper.request(VERSION, OPTIONS)).toEqual(["3"]);
    expect(fake.hostname).toBe("n-1");
    await expect(helper.request([{ name: "read", value: "/none" }], OPTIONS)).rejects.toMatchObject({
      code: "GUEST_HELPER_FAILED",
      details: { operation: "read" },
    });
  });

  it("ignores answers to other requests, and what nobody asked for", async () => {
    const manual = new Manual();
    await using server = await FakeServer.listen(manual.protocol);
    await using helper = await ResidentHelper.connect(server.path, OPTIONS);
    const answer = helper.request(VERSION, OPTIONS);
    const id = await manual.id(0);
    manual.peer?.send(`0000000000000000 ok version=9\n\nnoise\n${id} ok version=1\n${id} ok version=2\n`);
    expect(await answer).toEqual(["1"]);
    const second = helper.request(VERSION, OPTIONS);
    manual.peer?.send(`${id} ok version=3\n${await manual.id(1)} ok version=4\n`);
    expect(await second).toEqual(["4"]);
  });

  it("gives up at the deadline, and is good for the next request", async () => {
    const manual = new Manual();
    await using server = await FakeServer.listen(manual.protocol);
    await using helper = await ResidentHelper.connect(server.path, OPTIONS);
    await expect(helper.request(VERSION, { timeoutMs: 5 })).rejects.toMatchObject({ code: "TIMEOUT" });
    const next = helper.request(VERSION, OPTIONS);
    const id = await manual.id(1);
    manual.peer?.send(`${manual.ids[0]} ok version=late\n${id} ok version=1\n`);
    expect(await next).toEqual(["1"]);
  });

  it("gives up when the caller does", async () => {
    const manual = new Manual();
    await using server = await FakeServer.listen(manual.protocol);
    await using helper = await ResidentHelper.connect(server.path, OPTIONS);
    const controller = new AbortController();
    const answer = helper.request(VERSION, { ...OPTIONS, signal: controller.signal });
    await manual.id(0);
    controller.abort();
    await expect(answer).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("fails when the channel ends under it", async () => {
    const manual = new Manual();
    await using server = await FakeServer.listen(manual.protocol);
    await using helper = await ResidentHelper.connect(server.path, OPTIONS);
    const answer = helper.request(VERSION, OPTIONS);
    await manual.id(0);
    manual.peer?.destroy();
    await expect(answer).rejects.toMatchObject({ code: "GUEST_HELPER_FAILED" });
  });

  it("fails when the guest sends a line without end", async () => {
    const manual = new Manual();
    await using server = await FakeServer.listen(manual.protocol);
    await using helper = await ResidentHelper.connect(server.path, OPTIONS);
    const answer = helper.request(VERSION, OPTIONS);
    await manual.id(0);
    manual.peer?.send("x".repeat(65 * 1024));
    await expect(answer).rejects.toMatchObject({ code: "GUEST_HELPER_FAILED" });
  });

  it("fails with a code of its own when the channel is closed already, or nobody is there", async () => {
    await using server = await FakeServer.listen(new FakeHelper().protocol);
    const helper = await ResidentHelper.connect(server.path, OPTIONS);
    await helper[Symbol.asyncDispose]();
    await expect(helper.request(VERSION, OPTIONS)).rejects.toMatchObject({ code: "GUEST_HELPER_FAILED" });
    const nobody = ResidentHelper.connect(`${server.path}-none`, OPTIONS);
    await expect(nobody).rejects.toMatchObject({ code: "GUEST_HELPER_FAILED" });
  });
});

describe("CarriedHelper", () => {
  const BINARY = Buffer.from("\x7fELF");

  it("carries the program in once, and runs it for each request", async () => {
    const guest = new FakeGuest({});
    await using server = await FakeServer.listen(guest.agent.protocol);
    await using agent = await GuestAgent.connect(server.path);
    await using helper = new CarriedHelper(agent, BINARY);
    expect(await helper.request(VERSION, OPTIONS)).toEqual(["3"]);
    expect(await helper.request([{ name: "hostname", value: "n-1" }], OPTIONS)).toEqual(["n-1"]);
    expect(guest.agent.files.get("/run/.substrate-helper")).toEqual(BINARY);
    expect(guest.agent.received.filter((command) => command === "guest-file-open")).toHaveLength(1);
  });

  it("tries the next folder where a program may not be run, and says when there is none", async () => {
    const tried: string[] = [];
    const refusing = new FakeGuestAgent({
      "guest-exec": (args) => {
        tried.push(String(args.path));
        throw new FakeCommandError("Failed to execute child process (Permission denied)");
      },
    });
    await using server = await FakeServer.listen(refusing.protocol);
    await using agent = await GuestAgent.connect(server.path);
    await using helper = new CarriedHelper(agent, BINARY);
    await expect(helper.request(VERSION, OPTIONS)).rejects.toMatchObject({ code: "GUEST_HELPER_FAILED" });
    expect([...refusing.files.keys()]).toEqual(
      ["/run", "/tmp", "/var/tmp", "/root"].map((folder) => `${folder}/.substrate-helper`),
    );
    expect(tried.length).toBeGreaterThanOrEqual(4);
  });
});
