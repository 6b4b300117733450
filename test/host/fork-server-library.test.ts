import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { forkServerLibrary } from "../../lib/host/fork-server-library.ts";
import { runTool } from "../../lib/host/index.ts";

const SERVE = { VM_SUBSTRATE_FORK_SERVER: "1" };

let dir = "";
let library = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "fork-library-"));
  library = await forkServerLibrary(join(dir, "native"));
});
afterAll(() => rm(dir, { recursive: true }));

/** A shell with the library in it, and the other end of its descriptor 3. */
function shell(variable: Readonly<Record<string, string>>) {
  const env = { ...process.env, LD_PRELOAD: library, ...variable };
  const argv = ["-c", "exit 9", "room for the title of the server"];
  const child = spawn("/bin/sh", argv, { stdio: ["ignore", "ignore", "ignore", "pipe"], env });
  const control = child.stdio[3] as Duplex;
  control.on("error", () => {}); // a server that ends with something unread resets its connection
  return { child, control };
}

function words(...values: readonly number[]): Buffer {
  return Buffer.from(new Uint32Array(values).buffer);
}

describe("forkServerLibrary", () => {
  it("compiles once, into a private directory, however many ask", async () => {
    const made = await stat(library);
    expect(await Promise.all([1, 2, 3].map(() => forkServerLibrary(join(dir, "native"))))).toEqual(
      [1, 2, 3].map(() => library),
    );
    expect((await stat(library)).ino).toBe(made.ino);
    expect((await stat(join(dir, "native"))).mode & 0o777).toBe(0o700);
    const fresh = join(dir, "fresh");
    await Promise.all([1, 2, 3].map(() => forkServerLibrary(fresh)));
    expect(await readdir(fresh)).toHaveLength(1);
  });

  it("has a source without warnings", async () => {
    const source = fileURLToPath(new URL("../../native/fork-server.c", import.meta.url));
    const strict = ["-Wall", "-Wextra", "-Werror", "-Os", "-std=gnu17", "-fsyntax-only"];
    await runTool(["musl-gcc", ...strict, source], { timeoutMs: 10_000 });
  });

  it("leaves nothing when it is aborted", async () => {
    const controller = new AbortController();
    const compiling = forkServerLibrary(join(dir, "aborted"), controller.signal);
    controller.abort();
    await expect(compiling).rejects.toMatchObject({ code: "ABORTED" });
    expect(await readdir(join(dir, "aborted"))).toEqual([]);
  });

  it("refuses a directory that LD_PRELOAD would take for several, or expand", async () => {
    for (const name of ["a b", "a:b", "$LIB"]) {
      await expect(forkServerLibrary(join(dir, name))).rejects.toMatchObject({ code: "UNSAFE_DIRECTORY" });
      await expect(access(join(dir, name))).rejects.toThrow();
    }
  });
});

describe("the fork server's library", () => {
  it("does nothing where nobody asks it to", async () => {
    const [code] = await once(shell({}).child, "exit");
    expect(code).toBe(9);
  });

  it.each([
    ["noise", Buffer.alloc(64, "noise")],
    ["an unknown kind", words(3, 1, 0, 0, 0)],
    ["too many strings", words(1, 1, 0, 1025, 100)],
    ["too many files", words(1, 1, 17, 0, 100)],
    ["too long strings", words(1, 1, 0, 0, 65_537)],
    ["no strings", words(1, 1, 0, 0, 0)],
    ["a string without an end", Buffer.concat([words(1, 1, 0, 0, 3), Buffer.from("log")])],
    ["fewer strings than announced", Buffer.concat([words(1, 1, 0, 2, 6), Buffer.from("log\0a\0")])],
    ["more strings than announced", Buffer.concat([words(1, 1, 0, 0, 6), Buffer.from("log\0a\0")])],
    ["a signal for everybody", words(2, 0xffff_ffff, 9, 0, 0)],
    ["a signal for init", words(2, 1, 9, 0, 0)],
    ["a signal that there is not", words(2, 4321, 65, 0, 0)],
  ])("ends its server at %s", async (_, request) => {
    const { child, control } = shell(SERVE);
    await once(control, "data"); // it is ready
    control.write(request);
    const [code] = await once(child, "exit");
    expect(code).toBe(3);
  });

  it("sends no signal to a process that is not its server's child", async () => {
    const bystander = spawn("/bin/sleep", ["60"], { stdio: "ignore" });
    const { child, control } = shell(SERVE);
    control.end(words(2, bystander.pid ?? 0, 9, 0, 0));
    const [code] = await once(child, "exit");
    expect([code, bystander.exitCode, bystander.signalCode]).toEqual([0, null, null]);
    bystander.kill();
  });
});
