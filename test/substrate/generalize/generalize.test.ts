import { describe, expect, it } from "vitest";
import { decodeAnswer, encodeRequest, type HelperOperation } from "../../../lib/netcfg/helper-protocol.ts";
import { GuestAgent } from "../../../lib/qmp/index.ts";
import { generalize, requireGeneral } from "../../../lib/substrate/generalize/generalize.ts";
import { warmUp } from "../../../lib/substrate/generalize/miniaturize.ts";
import { servicesToTell } from "../../../lib/substrate/generalize/services.ts";
import { FakeServer } from "../../support/fake-line-server.ts";
import { FakeGuest } from "../../support/fake-qemu-guest.ts";
import { FAKE_GUEST } from "../../support/fake-substrate.ts";

const OPTIONS = { timeoutMs: 5000, signal: undefined };
const KEPT = { ...FAKE_GUEST, generalize: { remove: [], truncate: [], keep: ["/home/*/.ssh/*"] } };

/** A guest with these files beside its own. */
async function guestWith(files: Readonly<Record<string, string>>) {
  const fake = new FakeGuest({});
  for (const [path, content] of Object.entries(files)) fake.agent.files.set(path, Buffer.from(content));
  await using undo = new AsyncDisposableStack();
  const server = undo.use(await FakeServer.listen(fake.agent.protocol));
  const agent = undo.use(await GuestAgent.connect(server.path, { timeoutMs: 5000 }));
  const helper = {
    async request(operations: readonly HelperOperation[]) {
      const line = fake.helper.serve(encodeRequest("id1", operations).trimEnd());
      return decodeAnswer("id1", operations, line.trimEnd()) ?? [];
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const owned = undo.move();
  return { fake, channels: { agent, helper }, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

describe("generalize", () => {
  it("removes or empties what the registry names, and says what that was", async () => {
    await using guest = await guestWith({
      "/etc/ssh/ssh_host_rsa_key": "x",
      "/etc/ssh/sshd_config": "kept",
      "/var/log/syslog": "a day",
      "/home/ann/.bash_history": "ls",
      "/var/lib/cloud/instance": "i-1",
    });
    const done = await generalize(guest.channels, FAKE_GUEST, OPTIONS);
    expect(done.map(({ trace, files }) => `${trace}: ${files}`)).toEqual([
      "ssh host keys: 1",
      "logs: 1",
      "shell history: 1",
      "cloud-init's instance: 1",
      "authorized keys: 1",
      "the recipe's own: 1",
    ]);
    const { files } = guest.fake.agent;
    expect(files.get("/var/log/syslog")).toHaveLength(0);
    expect(files.get("/etc/ssh/sshd_config")?.toString()).toBe("kept");
    expect(files.has("/etc/ssh/ssh_host_rsa_key")).toBe(false);
    await warmUp(guest.channels, FAKE_GUEST, OPTIONS); // empties what an identity consists of
    await requireGeneral(guest.channels, FAKE_GUEST, OPTIONS);
  });

  it("leaves what the recipe keeps", async () => {
    await using guest = await guestWith({ "/home/ann/.ssh/authorized_keys": "ssh-ed25519 AAAA ann\n" });
    await generalize(guest.channels, KEPT, OPTIONS);
    expect(guest.fake.agent.files.has("/home/ann/.ssh/authorized_keys")).toBe(true);
  });

  it("fails the build for what cannot be removed", async () => {
    await using guest = await guestWith({ "/home/stubborn/.bash_history": "x" });
    await generalize(guest.channels, FAKE_GUEST, OPTIONS);
    await warmUp(guest.channels, FAKE_GUEST, OPTIONS);
    await expect(requireGeneral(guest.channels, FAKE_GUEST, OPTIONS)).rejects.toMatchObject({
      code: "BUILD_FAILED",
      message: expect.stringContaining("/home/stubborn/.bash_history"),
    });
  });
});

describe("services that remember who they were", () => {
  it("are told where they run, each once", async () => {
    await using guest = await guestWith({ "/run/active": "ssh.service\nsystemd-resolved.service\n" });
    expect(await servicesToTell(guest.channels.agent, OPTIONS)).toEqual([
      ["systemctl", "reload", "ssh.service"],
      ["systemctl", "restart", "systemd-resolved.service"],
    ]);
  });

  it("are none where none runs", async () => {
    await using guest = await guestWith({});
    expect(await servicesToTell(guest.channels.agent, OPTIONS)).toEqual([]);
  });
});
