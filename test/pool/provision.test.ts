import { describe, expect, it } from "vitest";
import type { ActivateSpec } from "../../lib/pool/index.ts";
import { openFakePool } from "../support/fake-host.ts";
import { addFakeSubstrate } from "../support/fake-substrate.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { activateOne, said, textOf } from "../support/vms.ts";

const SPEC: ActivateSpec = { substrate: "fake" };
const KEYS = [
  "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHhxU6qd1nvpIwvMqgIW4FbIFpVxFyJJ7rX2mJbJfT1c player one",
  "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMJ7rX2mJbJfT1cHhxU6qd1nvpIwvMqgIW4FbIFpVxFy operator",
];

/** Each is promised for a clone that waited, one that was made for the call, and one whose guest has no helper. */
const ORIGINS: readonly (readonly [string, number, ActivateSpec])[] = [
  ["docked", 1, SPEC],
  ["renamed", 1, { ...SPEC, hostname: "solo" }],
  ["cloned", 0, SPEC],
  ["agent-only", 0, { ...SPEC, channel: "agent" }],
];

describe.each(ORIGINS)("a %s VM", (_, min, spec) => {
  async function activated(more: Partial<ActivateSpec>) {
    const fake = await openFakePool();
    await fake.pool.dock("fake", { min });
    await fake.pool.docked("fake", { count: min });
    const activating = activateOne(fake.pool, { ...spec, ...more });
    activating.catch(() => {});
    return { ...fake, activating, [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose]() };
  }

  it("has the files that it was to be given, byte by byte, with their modes", async () => {
    const large = Uint8Array.from({ length: 120_000 }, (_x, i) => (i * 7919) % 256); // more than one request takes
    const files = [
      { path: "/etc/match.json", content: '{"map":"köln"}\n' },
      { path: "/root/large", content: large, mode: 0o600 },
      { path: "/usr/bin/start", content: "#!/bin/sh\n", mode: 0o755 },
      { path: "/etc/empty", content: "" },
    ];
    await using given = await activated({ files });
    const vm = await given.activating;
    for (const { path, content, mode = 0o644 } of files) {
      expect(Buffer.from(await vm.readFile(path)), path).toEqual(Buffer.from(content));
      expect(await said(vm, "stat", "-c", "%a", path), path).toBe(mode.toString(8));
    }
  });

  it("has its environment in what it runs first, in every later program, and for logins", async () => {
    const env = { MODE: "ranked", GREETING: "hello $USER; `x`", EMPTY: "" };
    await using given = await activated({ env, run: { argv: ["true"] } });
    const vm = await given.activating;
    const lines = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    expect((await said(vm, "env")).split("\n")).toEqual(expect.arrayContaining(lines));
    const more = await vm.exec(["env"], { env: { MODE: "casual", EXTRA: "1" } });
    expect(more.stdout.split("\n")).toEqual(expect.arrayContaining(["MODE=casual", "EXTRA=1", lines[1]]));
    expect(await textOf(vm, "/etc/environment")).toBe('MODE="ranked"\nGREETING="hello $USER; `x`"\nEMPTY=""\n');
    expect(await said(vm, "stat", "-c", "%a", "/etc/environment")).toBe("644");
  });

  it("lets the holders of its keys log in, and nobody else", async () => {
    await using given = await activated({ authorizedKeys: KEYS });
    const vm = await given.activating;
    expect(await textOf(vm, "/root/.ssh/authorized_keys")).toBe(`${KEYS.join("\n")}\n`);
    expect(await said(vm, "stat", "-c", "%a", "/root/.ssh/authorized_keys")).toBe("600");
  });

  it("keeps nobody's key when it is given none", async () => {
    await using given = await activated({});
    expect(await textOf(await given.activating, "/root/.ssh/authorized_keys")).toBe("");
  });

  it("is destroyed when what it is to run first fails, and the error says how that ended", async () => {
    await using given = await activated({ run: { argv: ["complain", "--all"] } });
    await expect(given.activating).rejects.toMatchObject({
      code: "RUN_FAILED",
      message: expect.stringMatching(/"complain" ended with status 3 .*no such match/),
      details: { exitCode: 3, stdout: "half a result\n", stderr: "no such match\n" },
    });
    await given.pool.dock("fake", { min: 0 });
    await given.pool.close();
    await expectNothingLeft(given.host.paths);
  });

  it("is destroyed when there is no such program", async () => {
    await using given = await activated({ run: { argv: ["no-such-program"] } });
    await expect(given.activating).rejects.toMatchObject({ code: "RUN_FAILED", details: { exitCode: null } });
    expect(given.pool.vms).toEqual([]);
  });
});

describe("a VM", () => {
  it("has the labels of its call, also for whoever opens the state directory next", async () => {
    await using fake = await openFakePool();
    const labels = { match: "7", "team/name": "röd\nlag", "a.b_c-d": "" };
    const vm = await activateOne(fake.pool, { ...SPEC, labels });
    expect(vm.labels).toEqual(labels);
    await fake.pool.close({ vms: "keep" });
    await using next = await fake.host.open();
    expect(next.vms.map((one) => one.labels)).toEqual([labels]);
  });

  it("keeps its environment for whoever opens the state directory next", async () => {
    await using fake = await openFakePool();
    await activateOne(fake.pool, { ...SPEC, env: { MODE: "ranked" } });
    await fake.pool.close({ vms: "keep" });
    await using next = await fake.host.open();
    const [vm] = next.vms;
    expect((await vm?.exec(["env"]))?.stdout).toContain("MODE=ranked\n");
  });

  it("that cannot be given a file, because of a folder that is missing, is destroyed", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = () => ({ refuses: ["file"] });
    const activating = fake.pool.activate(1, { ...SPEC, files: [{ path: "/no/such/folder", content: "" }] });
    await expect(activating).rejects.toMatchObject({ code: "GUEST_HELPER_FAILED" });
    await expectNothingLeft(fake.host.paths, { open: true });
  });
});

describe("services that remember who the substrate was", () => {
  it("are told before anybody gets the VM, and one that does not take it in costs the VM", async () => {
    await using fake = await openFakePool();
    await addFakeSubstrate(fake.host.paths, {
      name: "told",
      manifest: { tell: [["true"], ["systemctl", "reload", "a"]] },
    });
    await addFakeSubstrate(fake.host.paths, { name: "deaf", manifest: { tell: [["true"], ["false"]] } });
    await fake.pool.activate(1, { substrate: "told" });
    await expect(fake.pool.activate(1, { substrate: "deaf" })).rejects.toMatchObject({
      code: "IDENTITY_UNVERIFIED",
      details: { part: "services", argv: ["false"] },
    });
    expect(fake.pool.vms).toHaveLength(1);
  });
});
