import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import {
  CarriedHelper,
  newIdentity,
  personalise,
  randomMac,
  verifyResumed,
  writeFiles,
} from "../../lib/netcfg/index.ts";
import { newSshHostKey } from "../../lib/netcfg/ssh-host-key.ts";
import { type GuestAgent, guestExec } from "../../lib/qmp/index.ts";
import { loadLabSubstrate } from "../support/raw-clone.ts";

const CLONES = 3;
const OPTIONS = { timeoutMs: 20_000 };

type RawClone = Awaited<ReturnType<Awaited<ReturnType<typeof loadLabSubstrate>>["launch"]>>;

async function printed(agent: GuestAgent, ...argv: string[]): Promise<Buffer> {
  const { exitCode, stdout } = await guestExec(agent, argv, OPTIONS);
  expect(exitCode, argv.join(" ")).toBe(0);
  return Buffer.from(stdout);
}

/** Every part of an identity, as programs in the guest see it. */
async function seenIn({ clone }: RawClone) {
  const agent = await clone.guest.agent();
  const text = async (...argv: string[]) => (await printed(agent, ...argv)).toString().trim();
  const hex = async (...argv: string[]) => (await printed(agent, ...argv)).toString("hex");
  const addresses = await text("ip", "-o", "addr", "show", "eth0");
  return {
    random: await hex("head", "-c", "16", "/dev/urandom"),
    hostname: await text("hostname"),
    hostnameFile: await text("cat", "/etc/hostname"),
    hosts: await text("cat", "/etc/hosts"),
    mac: await text("cat", "/sys/class/net/eth0/address"),
    address: /inet (\S+)/.exec(addresses)?.[1] ?? "",
    linkLocal: /inet6 (fe80:\S+)/.exec(addresses)?.[1] ?? "",
    address6: /inet6 (fd77:\S+)/.exec(addresses)?.[1] ?? "",
    machineId: await text("cat", "/etc/machine-id"),
    dbusId: await text("cat", "/var/lib/dbus/machine-id"),
    hostKey: await hex("cat", "/etc/dropbear/dropbear_ed25519_host_key"),
    authorizedKeys: await text("cat", "/root/.ssh/authorized_keys"),
    randomSeed: await hex("cat", "/var/lib/random-seed"),
  };
}

/** What the running SSH server itself shows on the wire. */
async function hostKeyOnTheWire({ clone }: RawClone): Promise<string | undefined> {
  const argv = ["dbclient", "-T", "-y", "-o", "BatchMode=yes", "root@127.0.0.1", "true"];
  const { stderr } = await guestExec(await clone.guest.agent(), argv, OPTIONS);
  return /SHA256:[\w+/]+/.exec(Buffer.from(stderr).toString())?.[0];
}

function identityOf(index: number) {
  return newIdentity(
    { hostname: `unique-${index}`, address: `10.77.0.${index}`, address6: `fd77::${index}`, mac: randomMac() },
    { prefixLength: 24, prefixLength6: 64 },
    { authorizedKeys: [newSshHostKey().publicKey] },
  );
}

test("clones are equal in every part when nothing was done, down to the bytes of /dev/urandom", async () => {
  await using lab = await loadLabSubstrate();
  const raw = [];
  for (let i = 0; i < 2; i++) {
    await using launched = await lab.launch();
    raw.push(await seenIn(launched));
  }
  expect(raw[0]).toEqual(raw[1]);
});

test("no two clones with an identity are equal in any part, and each has its own", async () => {
  await using lab = await loadLabSubstrate();
  const { guest } = lab.substrate.manifest;
  const all: Awaited<ReturnType<typeof seenIn>>[] = [];
  for (let i = 1; i <= CLONES; i++) {
    await using launched = await lab.launch();
    const identity = identityOf(i);
    await personalise(launched.clone.guest.helper, identity, guest, OPTIONS);
    const seen = await seenIn(launched);
    expect(seen).toMatchObject({
      hostname: identity.hostname,
      hostnameFile: identity.hostname,
      mac: identity.mac,
      address: `${identity.address}/24`,
      address6: `${identity.address6}/64`,
      machineId: identity.machineId,
      dbusId: identity.machineId,
      hostKey: identity.sshHostKey.dropbearFile.toString("hex"),
      authorizedKeys: identity.authorizedKeys.join("\n"),
      randomSeed: identity.randomSeed.toString("hex"),
    });
    expect(seen.linkLocal).toMatch(/^fe80::[0-9a-f:]+\/64$/);
    const blob = Buffer.from(identity.sshHostKey.publicKey.split(" ")[1] ?? "", "base64");
    const fingerprint = createHash("sha256").update(blob).digest("base64").replace(/=+$/, "");
    expect(await hostKeyOnTheWire(launched)).toBe(`SHA256:${fingerprint}`);
    all.push(seen);
  }
  for (const part of Object.keys(all[0] ?? {}) as (keyof (typeof all)[0])[]) {
    const values = all.map((seen) => seen[part]);
    expect(values, part).not.toContain("");
    expect(new Set(values).size, part).toBe(CLONES);
  }
});

test("every part also comes in through the guest agent alone", async () => {
  await using lab = await loadLabSubstrate();
  await using launched = await lab.launch();
  const identity = identityOf(1);
  const program = await readFile(lab.substrate.substrate.paths.helper);
  await using carried = new CarriedHelper(await launched.clone.guest.agent(), program);
  await personalise(carried, identity, lab.substrate.manifest.guest, OPTIONS);
  await verifyResumed(carried, identity, lab.substrate.manifest.guest, OPTIONS);
  expect(await seenIn(launched)).toMatchObject({
    hostname: identity.hostname,
    mac: identity.mac,
    address: `${identity.address}/24`,
    address6: `${identity.address6}/64`,
    dbusId: identity.machineId,
    authorizedKeys: identity.authorizedKeys.join("\n"),
    randomSeed: identity.randomSeed.toString("hex"),
  });
});

test("another identity replaces the first in every part, and a paused one is known again", async () => {
  await using lab = await loadLabSubstrate();
  const { guest } = lab.substrate.manifest;
  await using launched = await lab.launch();
  const { instance, guest: link } = launched.clone;
  await personalise(link.helper, identityOf(1), guest, OPTIONS);
  const before = await seenIn(launched);
  const identity = identityOf(2);
  await personalise(link.helper, identity, guest, OPTIONS);
  const after = await seenIn(launched);
  for (const part of Object.keys(before) as (keyof typeof before)[]) expect(after[part], part).not.toBe(before[part]);

  await instance.qmp.execute("stop");
  await instance.qmp.execute("cont");
  await verifyResumed(link.helper, identity, guest, OPTIONS);
  await expect(verifyResumed(link.helper, identityOf(3), guest, OPTIONS)).rejects.toMatchObject({
    code: "IDENTITY_UNVERIFIED",
    details: { part: "hostname" },
  });
});

test("files of any size come into a guest whole, also over one that was replaced", async () => {
  await using lab = await loadLabSubstrate();
  await using launched = await lab.launch();
  const { helper } = launched.clone.guest;
  const agent = await launched.clone.guest.agent();
  await personalise(helper, identityOf(1), lab.substrate.manifest.guest, OPTIONS);
  const content = Buffer.alloc(300_000, "0123456789abcdef\n");
  await writeFiles(helper, [{ path: "/root/large", mode: 0o640, content }], OPTIONS);
  const sum = (await printed(agent, "sha256sum", "/root/large")).toString().split(" ")[0];
  expect(sum).toBe(createHash("sha256").update(content).digest("hex"));
  expect((await printed(agent, "stat", "-c", "%a", "/root/large")).toString().trim()).toBe("640");

  // The helper holds the files of an identity open: a program that replaces one by rename must not be written past.
  await printed(agent, "sh", "-c", "echo mine > /etc/new && mv /etc/new /etc/hosts");
  await writeFiles(helper, [{ path: "/etc/hosts", mode: 0o644, content: "127.0.0.1 localhost\n" }], OPTIONS);
  expect((await printed(agent, "cat", "/etc/hosts")).toString()).toBe("127.0.0.1 localhost\n");
});

test("a clone wakes plugged into nothing, and what it sends goes nowhere", async () => {
  await using lab = await loadLabSubstrate();
  await using launched = await lab.launch();
  const command = { "command-line": "info network" };
  const ports = await launched.clone.instance.qmp.execute<string>("human-monitor-command", command);
  // One hub, with the NIC's port and the one that leads nowhere: no network.
  expect(ports).toMatch(/hub 0/);
  expect(ports).toMatch(/sink0/);
  expect(ports).toMatch(/netdev0.*net0/s);
  expect(ports).not.toMatch(/socket|tap|user/);
});
