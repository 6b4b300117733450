import { execFileSync } from "node:child_process";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Paths, socketPath } from "../../lib/host/index.ts";
import { SOCKET_PATH_MAX_BYTES } from "../../lib/host/paths.ts";

describe("socketPath", () => {
  it("takes 107 bytes and no more", () => {
    const longest = `/${"a".repeat(SOCKET_PATH_MAX_BYTES - 1)}`;
    expect(socketPath(longest)).toBe(longest);
    expect(() => socketPath(`${longest}a`)).toThrow(expect.objectContaining({ code: "PATH_TOO_LONG" }));
  });

  it("counts bytes, not characters", () => {
    expect(() => socketPath(`/${"ü".repeat(60)}`)).toThrow(
      expect.objectContaining({ code: "PATH_TOO_LONG", details: expect.objectContaining({ bytes: 121 }) }),
    );
  });
});

describe("Paths", () => {
  it("follows the XDG directories", () => {
    const paths = new Paths({}, { HOME: "/h", XDG_STATE_HOME: "/s", XDG_CACHE_HOME: "/c", XDG_RUNTIME_DIR: "/r" });
    expect(paths.stateDir).toBe("/s/vm-substrate");
    expect(paths.cacheDir).toBe("/c/vm-substrate");
    expect(paths.runtimeDir).toMatch(/^\/r\/vm-substrate-\d+-[0-9a-f]{8}$/);
    expect(paths.sharedMemoryDir).toMatch(/^\/dev\/shm\/vm-substrate-\d+-[0-9a-f]{8}$/);
    const plain = new Paths({}, { HOME: "/h" });
    expect(plain.stateDir).toBe("/h/.local/state/vm-substrate");
    expect(plain.cacheDir).toBe("/h/.cache/vm-substrate");
    expect(plain.runtimeDir).toMatch(/^\/tmp\/vm-substrate-/);
  });

  it("needs no home directory where none is asked for, as of a container's user", () => {
    const argv = ["--reuid=64999", "--clear-groups", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"];
    const flags = ["--disable-warning=ExperimentalWarning", "--input-type=module-typescript", "-e"];
    const script = `
      import { Paths } from ${JSON.stringify(join(import.meta.dirname, "../../lib/host/paths.ts"))};
      console.log(new Paths({ stateDir: "/s", cacheDir: "/c" }).runtimeDir);
      try { new Paths(); } catch (error) { console.log(error.code, error.message); }
    `;
    const env = { PATH: process.env.PATH };
    const said = execFileSync("setpriv", [...argv, process.execPath, ...flags, script], { env, encoding: "utf8" });
    expect(said).toMatch(/^\/tmp\/vm-substrate-64999-[0-9a-f]{8}\nINVALID_ARGUMENT .*set HOME/);
  });

  it("takes an empty XDG variable as none", () => {
    const empty = new Paths({}, { HOME: "/h", XDG_STATE_HOME: "", XDG_CACHE_HOME: "", XDG_RUNTIME_DIR: "" });
    expect(empty.stateDir).toBe("/h/.local/state/vm-substrate");
    expect(empty.runtimeDir).toMatch(/^\/tmp\//);
  });

  it("makes relative directories absolute", () => {
    expect(new Paths({ stateDir: "s" }).stateDir).toBe(`${process.cwd()}/s`);
  });

  it("never lets two state directories meet in the shared places", () => {
    const dir = fc.string({ unit: fc.constantFrom("a", "b", "/", "-", ".", "x") }).map((text) => `/d/${text}`);
    fc.assert(
      fc.property(dir, dir, (one, other) => {
        const [first, second] = [new Paths({ stateDir: one }), new Paths({ stateDir: other })];
        const isSame = first.stateDir === second.stateDir;
        expect(first.runtimeDir === second.runtimeDir).toBe(isSame);
        expect(first.sharedMemoryDir === second.sharedMemoryDir).toBe(isSame);
      }),
    );
  });

  it("keeps all of a VM's files in folders of its own", () => {
    const paths = new Paths({ stateDir: "/s", runtimeDir: "/r" });
    const vm = paths.vm("abc");
    for (const file of [vm.overlay, vm.log]) expect(file.startsWith("/s/vms/abc/")).toBe(true);
    for (const file of [vm.qmp, vm.agent, vm.helper, vm.migration]) {
      expect(file.startsWith(`${paths.runtimeDir}/abc/`)).toBe(true);
    }
    expect(new Set(Object.values(vm)).size).toBe(Object.values(vm).length);
  });

  it("hides what is still being made from the catalog", () => {
    const paths = new Paths({ stateDir: "/s", cacheDir: "/c" });
    expect(paths.substrateStaging("mini", "x").dir).toBe("/s/substrates/.mini-x");
    expect(paths.recipeStaging("mini", "k", "m").dir).toMatch(/^\/c\/recipes\/mini\/\.k-/);
  });
});
