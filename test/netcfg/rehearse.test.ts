import { expect, it } from "vitest";
import { decodeAnswer, encodeRequest, type HelperOperation } from "../../lib/netcfg/helper-protocol.ts";
import { type HelperChannel, identityFiles, identityFilesLeft, rehearseIdentity } from "../../lib/netcfg/index.ts";
import { FakeHelper } from "../support/fake-helper.ts";
import { FAKE_GUEST } from "../support/fake-substrate.ts";

it("leaves a guest with an identity's files, empty, no address and the MAC address that it had", async () => {
  const helper = new FakeHelper();
  const channel: HelperChannel = {
    async request(operations: readonly HelperOperation[]) {
      const line = helper.serve(encodeRequest("id", operations).trimEnd());
      return decodeAnswer("id", operations, line.trimEnd()) ?? [];
    },
    async [Symbol.asyncDispose]() {},
  };
  const { mac } = helper;
  await rehearseIdentity(channel, FAKE_GUEST, { timeoutMs: 1000 });
  expect(helper.mac).toBe(mac);
  expect(helper.addresses.size).toBe(0);
  expect(helper.received.join(" ")).toMatch(/ mac=eth0,02:\S+ ipv4=eth0,192\.0\.2\.1,24 ipv6=eth0,fe80/);
  const files = identityFiles(FAKE_GUEST);
  expect(files).toContain("/etc/machine-id");
  for (const path of files) expect(helper.files.get(path), path).toHaveLength(0);
  expect(await identityFilesLeft(channel, FAKE_GUEST, { timeoutMs: 1000 })).toEqual([]);
  helper.files.set("/etc/hosts", Buffer.from("builder"));
  expect(await identityFilesLeft(channel, FAKE_GUEST, { timeoutMs: 1000 })).toEqual(["/etc/hosts"]);
});
