import { mkdir, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { extract } from "tar-stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { whatIsNew } from "../../cli/commands/logs.ts";
import { redactor } from "../../cli/redact.ts";
import { type CliOptions, cliEnv, cli as run, startCli } from "../support/cli.ts";
import { type FakeDaemon, openFakeDaemon } from "../support/fake-daemon.ts";

let fake: FakeDaemon;
let dir = "";
beforeAll(async () => {
  fake = await openFakeDaemon();
  dir = await mkdtemp(join(tmpdir(), "cli-"));
  await fake.pool.activate(1, { substrate: "fake", hostname: "one", labels: { a: "\u001b[31mred" } });
});
afterAll(async () => {
  await fake[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

const cli = (argv: readonly string[], options: CliOptions = {}) => run(argv, { env: cliEnv(fake.host), ...options });

describe("substrates", () => {
  it("are listed, exported, imported and removed", async () => {
    expect((await cli(["ls"])).stdout).toMatch(/^NAME +VERSION/);
    expect((await cli(["ls", "-q"])).stdout).toBe("fake@1\n");
    const file = join(dir, "fake.tar.zst");
    expect(await cli(["export", "fake", file])).toMatchObject({ exitCode: 0, stdout: expect.stringContaining(file) });
    expect(await cli(["import", file, "--name", "copied", "-q"])).toMatchObject({ exitCode: 0, stdout: "copied@1\n" });
    expect(await cli(["prune", "--keep", "1"])).toMatchObject({ exitCode: 0 });
    expect((await cli(["rm", "copied", "none", "-q"])).stdout).toBe("copied@1\n");
    expect((await cli(["rm", "none"])).exitCode).toBe(3);
    expect(await cli(["rm", "fake"])).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("SUBSTRATE_IN_USE"),
    });
  });

  it("are read again by scrub", async () => {
    expect(await cli(["scrub"])).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("fake@1") });
  });

  it("of a recipe that there is not are refused", async () => {
    expect(await cli(["build", "none"])).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining("RECIPE_UNKNOWN"),
    });
    expect((await cli(["build", "./none.yaml"])).stderr).toContain("none.yaml");
  });
});

describe("docks", () => {
  it("are set, waited for, listed and removed", async () => {
    const set = await cli(["dock", "set", "fake", "--min", "1", "--hostname", "d-{index}", "--subnet", "10.92.0.0/24"]);
    expect(set).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await cli(["dock", "wait", "fake", "1", "--timeout", "9s"])).toMatchObject({ exitCode: 0 });
    const [dock] = JSON.parse((await cli(["dock", "ls", "--format", "json"])).stdout);
    expect(dock).toMatchObject({ substrate: "fake", min: 1, ready: 1 });
    expect((await cli(["dock", "wait", "fake", "9", "--timeout", "20ms"])).exitCode).not.toBe(0);
    expect(await cli(["top", "--once"])).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/claims\/s.*DOCK/s),
    });
    expect(await cli(["dock", "rm", "fake"])).toMatchObject({ exitCode: 0, stderr: "" });
    expect((await cli(["dock", "rm", "fake"])).stderr).toBe("there was no dock of fake\n");
  });
});

describe("events", () => {
  it("that have happened are shown, by type", async () => {
    await fake.pool.activate(1, { substrate: "fake", hostname: "seen" });
    const { stdout } = await cli(["events", "--type", "activated", "--past", "1"]);
    expect(stdout).toMatch(/^\S+Z {2}activated +seen \(\w+\)\n$/);
  });

  it("to come are followed until Ctrl-C, a line of JSON each", async () => {
    const call = startCli(["events", "-f", "--type", "parked", "--format", "json"], { env: cliEnv(fake.host) });
    const vm = await fake.pool.find("one");
    // Until it listens.
    while (call.stdout.text === "") {
      await vm.park();
      await vm.resume();
    }
    call.interrupt();
    expect(await call.exitCode).toBe(130);
    const [first = ""] = call.stdout.text.split("\n");
    expect(JSON.parse(first)).toMatchObject({ type: "parked", data: { vm: { hostname: "one" } } });
  });
});

describe("top", () => {
  it("is drawn again and again on a terminal, and gives it back", async () => {
    const call = startCli(["top"], { env: cliEnv(fake.host), tty: true });
    await call.stdout.shows("\u001b[H\u001b[J");
    call.interrupt();
    expect(await call.exitCode).toBe(130);
    expect(call.stdout.text.endsWith("\u001b[?25h\u001b[?1049l")).toBe(true);
  });
});

describe("the machine", () => {
  it("is cleaned and looked at", async () => {
    expect(await cli(["gc", "--format", "json"])).toMatchObject({ exitCode: 0 });
    const made = fake.host.paths.recipeCache("mini", "unused").dir;
    await mkdir(made, { recursive: true });
    expect(await cli(["gc", "--max-cache", "1000"])).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/^cache +nothing; \d.* stay$/m),
    });
    expect((await cli(["gc", "--unused-for", "1ms", "--format", "json"])).stdout).toContain('"mini/unused"');
    await mkdir(made, { recursive: true });
    expect((await cli(["gc", "--all"])).stdout).toMatch(/^cache +.*mini\/unused.* stay$/m);
    expect((await cli(["gc", "--all", "--unused-for", "1d"])).exitCode).toBe(2);
    const checks = JSON.parse((await cli(["doctor", "--format", "json"])).stdout);
    expect(checks).toContainEqual(expect.objectContaining({ name: "platform" }));
  });
});

describe("a support bundle", () => {
  it("has what helps, and no secrets", async () => {
    const file = join(dir, "bundle.tar");
    expect(await cli(["debug", "one", "--bundle", file])).toMatchObject({ exitCode: 0, stdout: "" });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const names: string[] = [];
    const reader = extract();
    reader.on("entry", ({ name }, stream, next) => {
      names.push(name);
      stream.on("end", next);
      stream.resume();
    });
    const over = new Promise<void>((resolve) => reader.on("finish", () => resolve()));
    reader.end(await readFile(file));
    await over;
    expect(names).toEqual(
      expect.arrayContaining(["versions.json", "qemu-argv.json", "vm.json", "docks.json", "doctor.json", "daemon.log"]),
    );
  });

  it("loses tokens, environment and files to the redactor", () => {
    const token = "t".repeat(43);
    const redact = redactor(`read ${token}\n`);
    const text = [
      `a ${token} b`,
      `write ${"w".repeat(43)}`,
      "Authorization: Bearer abc.def",
      `http://x/#token=${"z".repeat(43)}`,
      '{"env":{"A":"secret"},"files":[{"path":"/a","content":"secret"}],"content":"sec\\"ret","labels":{"a":"kept"}}',
    ].join("\n");
    const clean = redact(text);
    for (const secret of [token, "www", "abc.def", "zzz", "secret", 'ret"']) expect(clean).not.toContain(secret);
    expect(clean).toContain("kept");
  });
});

describe("a console that is followed", () => {
  it.each([
    ["", "ab", "ab"],
    ["ab", "abc", "c"],
    ["ab", "ab", ""],
    [`${"a".repeat(300)}b`, `${"a".repeat(280)}bc`, "c"],
    ["x".repeat(300), "x".repeat(300), ""],
    ["abcd", "xyz", "xyz"],
  ])("of %j and then %j has %j anew", (before, now, anew) => {
    expect(whatIsNew(before, now)).toBe(anew);
  });

  it("ends with its VM", async () => {
    await fake.pool.activate(1, { substrate: "fake", hostname: "logged" });
    const call = cli(["logs", "-f", "logged"]);
    await (await fake.pool.find("logged")).release();
    expect([0, 3]).toContain((await call).exitCode);
  });
});
