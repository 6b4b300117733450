import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { configOf, configSchema, loadConfig, parseConfig } from "../../daemon/config.ts";

const DEFAULTS = {
  listen: { hosts: [], requestsPerSecond: 1000 },
  log: { level: "info" },
  docks: {},
};

const refusal = (text: string) => {
  try {
    parseConfig(text, "config.yaml");
  } catch (error) {
    return error;
  }
  throw new Error("it was taken");
};

async function newFile(text: string): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "config-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const file = join(dir, "config.yaml");
  await writeFile(file, text);
  return file;
}

describe("a configuration", () => {
  it.each(["", "# nothing\n", "---\n", "{}"])("may be empty: %j", (text) => {
    expect(parseConfig(text, "config.yaml")).toEqual(DEFAULTS);
  });

  it("takes every field", () => {
    const all = {
      stateDir: "/s",
      cacheDir: "/c",
      runtimeDir: "/r",
      sharedMemoryDir: "/m",
      qemu: "qemu",
      accelerator: "tcg",
      parallelStarts: 2,
      forkServer: false,
      zygotes: false,
      memoryMiB: 4096,
      addressQuarantineMs: 0,
      heartbeatMs: 1000,
      listen: { tcp: "127.0.0.1:7070", hosts: ["VM.example:7070"], tokenFile: "/t", requestsPerSecond: 10 },
      log: { level: "debug", file: "/l" },
      docks: {
        mini: { min: 2, max: 4, maxMiB: 100, primed: false, hostname: "a-{index}", network: { subnet: "10.0.0.0/24" } },
      },
    };
    expect(Object.keys(all).toSorted()).toEqual(Object.keys(configSchema.shape).toSorted());
    const { listen, ...rest } = parseConfig(JSON.stringify(all), "config.yaml");
    expect(rest).toEqual({ ...all, listen: undefined, ...rest });
    expect(listen.hosts).toEqual(["vm.example:7070"]);
    expect(rest.docks).toEqual(all.docks);
  });

  it.each([
    ["stateDir: /s\ntypo: 1\n", 2, "typo"],
    ["log:\n  level: info\n  colour: red\n", 3, "colour"],
    ["listen:\n  tcp: 7070\n", 2, "listen.tcp"],
    ["listen:\n  tcp: 127.0.0.1:70700\n", 2, "listen.tcp"],
    ["\n\nmemoryMiB: 0\n", 3, "memoryMiB"],
    ["docks:\n  mini:\n    min: 2\n    depth: 3\n", 4, "depth"],
    ["docks:\n  mini: 3\n", 2, "docks.mini"],
    ["log:\n  level: loud\n", 2, "log.level"],
    ["listen:\n  hosts:\n    - a\n    - 1\n", 4, "listen.hosts.1"],
    ["- a\n", 1, ""],
  ])("names file, line and field of what is wrong: %j", (text, line, field) => {
    expect(refusal(text)).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(new RegExp(`^config\\.yaml:${line}: .*${field.replaceAll(".", "\\.")}`)),
    });
  });

  it.each([
    "a: [",
    "a: 1\na: 2\n",
    "\t- x",
    "--- 1\n--- 2\n",
    "a: *nobody",
    "a: !!js/function x",
    "base: &x { min: 1 }\ndocks:\n  mini: *x\n",
    `a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n`,
    "[".repeat(50_000),
    "a:\n".repeat(3),
    "x".repeat(1024 ** 2 + 1),
    "__proto__: { polluted: true }\n",
    "\u0000",
  ])("refuses %.60j", (text) => {
    const error = refusal(text);
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringContaining("config.yaml") });
    expect(Object.hasOwn(Object.prototype, "polluted")).toBe(false);
  });

  it("is bounded before it is read", async () => {
    const file = await newFile("");
    await truncate(file, 8 * 1024 ** 3);
    await expect(loadConfig(file)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("that is named must be there", async () => {
    await expect(loadConfig("/nowhere/config.yaml")).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("/nowhere/config.yaml"),
    });
    await expect(loadConfig(tmpdir())).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(await loadConfig(await newFile("memoryMiB: 12\n"))).toEqual({ ...DEFAULTS, memoryMiB: 12 });
  });

  it("of a program is held to the same", () => {
    expect(configOf({})).toEqual(DEFAULTS);
    expect(() => configOf({ typo: 1 } as object)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    for (const tcp of ["127.0.0.1:0", "[::1]:7070", "localhost:65535", "vm.example:80"]) {
      expect(configOf({ listen: { tcp } }).listen.tcp).toBe(tcp);
    }
    for (const tcp of ["127.0.0.1", ":80", "::1:80", "a:b", "a:1:2", "a b:1", "http://a:1", "a:65536"]) {
      expect(() => configOf({ listen: { tcp } }), tcp).toThrow();
    }
  });
});
