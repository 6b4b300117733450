import { describe, expect, it } from "vitest";
import { GuestAgent, readGuestFile, writeGuestFile } from "../../lib/qmp/index.ts";
import { FakeServer } from "../support/fake-line-server.ts";
import { type FakeArguments, FakeCommandError, type FakeCommands, FakeGuestAgent } from "../support/fake-qmp-server.ts";

async function connected(commands: FakeCommands = {}) {
  const guest = new FakeGuestAgent(commands);
  const server = await FakeServer.listen(guest.protocol);
  const agent = await GuestAgent.connect(server.path);
  const stop = async () => {
    await agent.close();
    await server.close();
  };
  return { agent, guest, [Symbol.asyncDispose]: stop };
}

/** What a file without end answers: as much as was asked for, for ever. */
function endless(args: FakeArguments): Record<string, unknown> {
  const piece = Buffer.alloc(Number(args.count));
  return { count: piece.length, "buf-b64": piece.toString("base64"), eof: false };
}

const failing = (desc: string) => () => {
  throw new FakeCommandError(desc);
};

describe("readGuestFile", () => {
  it("accepts a file of exactly maxBytes and refuses one byte more", async () => {
    await using fake = await connected();
    fake.guest.files.set("/f", Buffer.from("12345"));
    expect(Buffer.from(await readGuestFile(fake.agent, "/f", { maxBytes: 5 })).toString()).toBe("12345");
    const refused = readGuestFile(fake.agent, "/f", { maxBytes: 4 });
    await expect(refused).rejects.toMatchObject({ code: "GUEST_COMMAND_FAILED", details: { class: "FileTooLong" } });
    expect(fake.guest.openHandles).toBe(0);
  });

  it("stops reading from a guest whose file never ends", async () => {
    await using fake = await connected({ "guest-file-read": endless });
    fake.guest.files.set("/f", Buffer.alloc(0));
    const refused = readGuestFile(fake.agent, "/f", { maxBytes: 1_000_000 });
    await expect(refused).rejects.toMatchObject({ code: "GUEST_COMMAND_FAILED" });
  });

  it("refuses a guest that reads nothing and never reports the end", async () => {
    await using fake = await connected({ "guest-file-read": () => ({ count: 0, "buf-b64": "", eof: false }) });
    fake.guest.files.set("/f", Buffer.alloc(0));
    await expect(readGuestFile(fake.agent, "/f")).rejects.toMatchObject({ code: "GUEST_AGENT_PROTOCOL" });
    expect(fake.guest.openHandles).toBe(0);
  });

  it("closes the handle when reading fails, and reports why it failed", async () => {
    await using fake = await connected({ "guest-file-read": failing("Input/output error") });
    fake.guest.files.set("/f", Buffer.from("x"));
    await expect(readGuestFile(fake.agent, "/f")).rejects.toMatchObject({ details: { desc: "Input/output error" } });
    expect(fake.guest.openHandles).toBe(0);
  });

  it("closes the handle when its caller gives up", async () => {
    const controller = new AbortController();
    const abortThen = () => {
      controller.abort();
      return { count: 0, "buf-b64": "", eof: true };
    };
    await using fake = await connected({ "guest-file-read": abortThen });
    fake.guest.files.set("/f", Buffer.from("x"));
    const aborted = readGuestFile(fake.agent, "/f", { signal: controller.signal });
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
    expect(fake.guest.openHandles).toBe(0);
  });

  it("refuses a path with NUL before anything is sent", async () => {
    await using fake = await connected();
    await expect(readGuestFile(fake.agent, "/a\0b")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(writeGuestFile(fake.agent, "", "x")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(fake.guest.received).toEqual([]);
  });
});

describe("writeGuestFile", () => {
  it("sends the rest again after a short write", async () => {
    let written = "";
    const short = (args: FakeArguments) => {
      const piece = Buffer.from(String(args["buf-b64"]), "base64").subarray(0, 3);
      written += piece.toString();
      return { count: piece.length, eof: false };
    };
    await using fake = await connected({ "guest-file-write": short });
    await writeGuestFile(fake.agent, "/f", "0123456789");
    expect(written).toBe("0123456789");
  });

  it("writes a view of a larger buffer, and nothing around it", async () => {
    await using fake = await connected();
    await writeGuestFile(fake.agent, "/f", Buffer.from("--view--").subarray(2, 6));
    expect(String(fake.guest.files.get("/f"))).toBe("view");
  });

  it("refuses a guest that writes nothing", async () => {
    await using fake = await connected({ "guest-file-write": () => ({ count: 0, eof: false }) });
    await expect(writeGuestFile(fake.agent, "/f", "x")).rejects.toMatchObject({ code: "GUEST_AGENT_PROTOCOL" });
    expect(fake.guest.openHandles).toBe(0);
  });

  it("fails when closing fails, which is when a full disk may show", async () => {
    await using fake = await connected({ "guest-file-close": failing("No space left on device") });
    await expect(writeGuestFile(fake.agent, "/f", "x")).rejects.toMatchObject({ code: "GUEST_COMMAND_FAILED" });
  });
});
