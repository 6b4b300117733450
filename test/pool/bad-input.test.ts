import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ActivateSpec } from "../../lib/pool/index.ts";
import { type FakePool, openFakePool } from "../support/fake-host.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";

const LONG = "a".repeat(300);
/** Of other types than any text, list or table that a call takes. */
const NO_TEXT: readonly unknown[] = [null, 5, true, {}, [5], () => {}, Symbol("a"), 5n];
/** What would be a command, an option, another line or another file where text is put together carelessly. */
const HOSTILE: readonly string[] = [
  "$(reboot)",
  "`reboot`",
  "a;b",
  "-oProxyCommand=x",
  "a\nb",
  "a\0b",
  "../x",
  "",
  LONG,
  "köln",
  "\u{1f98a}",
];
const NO_NUMBER: readonly unknown[] = [null, "5", 1.5, Number.NaN, Number.POSITIVE_INFINITY, 0, -1, {}, 2 ** 53];
const file = (more: object) => [{ path: "/etc/motd", content: "", ...more }];

/** By field: values that must not get in. */
const BAD: Readonly<Record<string, readonly unknown[]>> = {
  substrate: [undefined, ...NO_TEXT, ...HOSTILE, "A", "-a", "a.b", "constructor/x"],
  hostname: [...NO_TEXT, ...HOSTILE, [], [""], ["a", 5], ["A"], ["$(x)"], ["a\n"], [LONG]],
  network: [null, 5, "10.0.0.0/8", [], { subnets: "10.0.0.0/24" }],
  "network.fabric": [...NO_TEXT, ...HOSTILE, "bridge", "__proto__", "constructor"],
  "network.subnet": [...NO_TEXT, ...HOSTILE, "10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/24 ", "010.0.0.0/24"],
  "network.subnet6": [...NO_TEXT, ...HOSTILE, "fd00::", "fd00::1/64", "10.0.0.0/24", "fd00::/64%eth0", "fd00::/129"],
  "network.reserved": [null, 5, "10.77.0.1", [5], [""], ["10.77.0.9-10.77.0.1"], ["10.1.0.0/24"], ["a\nb"], ["$(x)"]],
  "network.addresses": [null, 5, "10.77.0.1", [], [5], [""], ["10.77.0.1\n"], ["$(x)"], ["10.77.0.300"], ["fd00::1"]],
  "network.addresses6": [null, 5, "fd00::1", [5], ["fd00::1%eth0"], ["10.77.0.1"], ["$(x)"], ["fd77::1"]],
  "network.macs": [
    null,
    5,
    "02:00:00:00:00:01",
    [],
    [5],
    ["01:00:5e:00:00:01"],
    ["02-00-00-00-00-01"],
    ["$(x)"],
    ["02:00"],
  ],
  authorizedKeys: [
    null,
    5,
    "ssh-ed25519 AAAA",
    [5],
    [""],
    ["ssh-ed25519"],
    ["ssh-ed25519 AAAA\nssh-rsa BBBB"],
    ["a\0"],
    ["$(x)"],
  ],
  files: [
    null,
    5,
    {},
    [5],
    [{}],
    file({ more: 1 }),
    Array.from({ length: 257 }, (_, i) => ({ path: `/${i}`, content: "" })),
  ],
  "file's path": [...NO_TEXT, ...HOSTILE, "/a b", "/a,b", "/a\n", "/", `/${"a".repeat(1024)}`, "etc/motd"].map((path) =>
    file({ path }),
  ),
  "file's content": [null, 5, {}, [5]].map((content) => file({ content })),
  "file's mode": [null, "644", -1, 1.5, 0o10000, Number.NaN].map((mode) => file({ mode })),
  "files that are too large": [file({ content: new Uint8Array(16 * 1024 * 1024 + 1) })],
  env: [null, 5, "A=b", ["A=b"], { "": "a" }, { "A B": "" }, { "A=B": "" }, { 5: "" }, { "$(x)": "" }, { [LONG]: "" }],
  "env's values": [{ A: 5 }, { A: null }, { A: "a\nb" }, { A: "a\0b" }, { A: 'a"b' }, { A: "a".repeat(4097) }],
  run: [
    null,
    5,
    "true",
    ["true"],
    {},
    { argv: [] },
    { argv: "true" },
    { argv: ["echo", 5] },
    { argv: ["true"], shell: true },
  ],
  "run's argv": [{ argv: [""] }, { argv: ["a\0b"] }, { argv: ["echo", "a\0b"] }, { argv: ["echo", "\ud800"] }],
  "run's timeoutMs": NO_NUMBER.map((timeoutMs) => ({ argv: ["true"], timeoutMs })),
  labels: [
    null,
    5,
    "a",
    ["a"],
    { a: 5 },
    { a: null },
    { a: "a".repeat(257) },
    { "a b": "" },
    { "$(x)": "" },
    { "../x": "" },
    { [LONG]: "" },
    { "a\n": "" },
    { "": "" },
  ],
  ttlMs: NO_NUMBER,
  maxLifetimeMs: NO_NUMBER,
  onExpiry: [...NO_TEXT, ...HOSTILE, "kill"],
  wait: [null, 5, "yes", {}],
  idempotencyKey: [...NO_TEXT, ...HOSTILE.filter((text) => !/^[\x21-\x7e]{1,200}$/.test(text)), "a b"],
  channel: [...NO_TEXT, ...HOSTILE, "ssh"],
  timeoutMs: NO_NUMBER,
};
/** Where a bad value belongs, when that is not the field that it is listed under. */
const PLACE: Readonly<Record<string, string>> = {
  "file's path": "files",
  "file's content": "files",
  "file's mode": "files",
  "files that are too large": "files",
  "env's values": "env",
  "run's argv": "run",
  "run's timeoutMs": "run",
};

function specWith(field: string, value: unknown): ActivateSpec {
  const [first = "", second] = (PLACE[field] ?? field).split(".");
  const spec: object = { substrate: "fake", [first]: second === undefined ? value : { [second]: value } };
  return spec as ActivateSpec;
}

function shown(value: unknown): string {
  return inspect(value, { depth: 3 }).slice(0, 80);
}

describe("a call is refused as INVALID_ARGUMENT, and nothing is touched, for what is no", () => {
  let fake: FakePool;
  beforeAll(async () => {
    fake = await openFakePool();
  });
  afterAll(() => fake[Symbol.asyncDispose]());

  it.each(Object.entries(BAD))("%s", async (field, values) => {
    for (const value of values) {
      const activating = fake.pool.activate(1, specWith(field, value));
      const code = await activating.then(
        () => "a VM",
        (error: { code?: string }) => error.code,
      );
      expect(code, shown(value)).toBe("INVALID_ARGUMENT");
    }
    expect(fake.pool.vms).toEqual([]);
    expect(fake.qemu.vms).toEqual([]);
    await expectNothingLeft(fake.host.paths, { open: true });
  });

  it.each(["__proto__", "constructor", "toString", "hasOwnProperty"])("field: %s", async (key) => {
    const nested = (text: string) => JSON.parse(`{"substrate":"fake",${text.replace("KEY", key)}}`) as ActivateSpec;
    for (const text of ['"KEY":{}', '"network":{"KEY":{}}', '"run":{"argv":["true"],"KEY":1}']) {
      await expect(fake.pool.activate(1, nested(text)), text).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
    expect(fake.qemu.vms).toEqual([]);
  });
});
