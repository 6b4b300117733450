import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { decodeAnswer, encodeRequest, type HelperOperation } from "../../lib/netcfg/helper-protocol.ts";
import { type GuestFile, type HelperChannel, writeFiles } from "../../lib/netcfg/index.ts";
import { FakeHelper } from "../support/fake-helper.ts";

class DirectHelper implements HelperChannel {
  readonly helper = new FakeHelper();
  requests = 0;

  async request(operations: readonly HelperOperation[]) {
    this.requests++;
    const line = this.helper.serve(encodeRequest("0123456789abcdef", operations).trimEnd());
    return decodeAnswer("0123456789abcdef", operations, line.trimEnd()) ?? [];
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

const OPTIONS = { timeoutMs: 1000 };
const write = async (files: readonly GuestFile[]) => {
  const channel = new DirectHelper();
  await writeFiles(channel, files, OPTIONS);
  return channel;
};

describe("writeFiles", () => {
  it("names the files of which the helper could not write all, and why", async () => {
    const refusing: HelperChannel = {
      request: async (operations) => decodeAnswer("id1", operations, "id1 error file 2") ?? [],
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
    const files = ["/no/such/a", "/b"].map((path) => ({ path, mode: 0o644, content: "" }));
    await expect(writeFiles(refusing, files, OPTIONS)).rejects.toMatchObject({
      code: "GUEST_HELPER_FAILED",
      message: expect.stringMatching(/\/no\/such\/a, \/b .*ENOENT/),
      details: { paths: ["/no/such/a", "/b"] },
    });
  });

  it("sends nothing for nothing, and small files in one request", async () => {
    expect((await write([])).requests).toBe(0);
    const { requests, helper } = await write([
      { path: "/a", mode: 0o600, content: "one" },
      { path: "/b", mode: 0o644, content: Buffer.from([0, 255]) },
      { path: "/c", mode: 0o644, content: "" },
    ]);
    expect(requests).toBe(1);
    expect(helper.files.get("/a")?.toString()).toBe("one");
    expect([...(helper.files.get("/b") ?? [])]).toEqual([0, 255]);
    expect(helper.files.get("/c")).toHaveLength(0);
    expect(helper.modes.get("/a")).toBe("600");
  });

  it.each([44_999, 45_000, 45_001, 200_000])("writes %i bytes, by several requests where it must", async (length) => {
    const content = randomBytes(length);
    const path = `/${"p".repeat(1023)}`;
    const { requests, helper } = await write([{ path, mode: 0o600, content }]);
    expect(helper.files.get(path)).toEqual(content);
    expect(requests).toBe(Math.ceil(length / 45_000));
  });

  it("packs many files into requests that fit", async () => {
    const files = Array.from({ length: 300 }, (_, i) => ({ path: `/f${i}`, mode: 0o644, content: "x".repeat(i * 5) }));
    const { requests, helper } = await write(files);
    expect(helper.files.size).toBe(300);
    expect(requests).toBeLessThan(10);
  });

  it.each([
    { path: "relative", mode: 0o600 },
    { path: "/a b", mode: 0o600 },
    { path: "/a,b", mode: 0o600 },
    { path: "/a\nb", mode: 0o600 },
    { path: "/", mode: 0o600 },
    { path: `/${"x".repeat(1024)}`, mode: 0o600 },
    { path: "/a", mode: 0o10000 },
    { path: "/a", mode: -1 },
    { path: "/a", mode: 0.5 },
  ])("refuses %j before anything is written", async (file) => {
    const channel = new DirectHelper();
    const good = { path: "/good", mode: 0o600, content: "" };
    await expect(writeFiles(channel, [good, { ...file, content: "" }], OPTIONS)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    expect(channel.requests).toBe(0);
  });

  it("believes no other length", async () => {
    const channel = new DirectHelper();
    channel.request = async () => ["/a,3"];
    const writing = writeFiles(channel, [{ path: "/a", mode: 0o600, content: "four" }], OPTIONS);
    await expect(writing).rejects.toMatchObject({ code: "IDENTITY_UNVERIFIED" });
  });
});
