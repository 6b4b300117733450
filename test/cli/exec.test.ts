import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type CliOptions, cliEnv, cli as run, startCli } from "../support/cli.ts";
import { type FakeDaemon, openFakeDaemon } from "../support/fake-daemon.ts";

let fake: FakeDaemon;
beforeAll(async () => {
  fake = await openFakeDaemon();
  await fake.pool.activate(1, { substrate: "fake", hostname: "guest", env: { OWN: "1" } });
});
afterAll(() => fake[Symbol.asyncDispose]());

const cli = (argv: readonly string[], options: CliOptions = {}) => run(argv, { env: cliEnv(fake.host), ...options });
const start = (argv: readonly string[], options: CliOptions = {}) =>
  startCli(argv, { env: cliEnv(fake.host), ...options });

describe("exec", () => {
  it("passes on what a program prints, apart", async () => {
    expect(await cli(["exec", "guest", "--", "print", "out", "err"])).toEqual({
      exitCode: 0,
      stdout: "out",
      stderr: "err",
    });
  });

  it.each([0, 7, 125, 255])("ends with the program's status %i", async (code) => {
    expect(await cli(["exec", "guest", "--", "exit", String(code)])).toEqual({
      exitCode: code,
      stdout: "",
      stderr: "",
    });
  });

  it("passes on input that is no terminal, byte by byte", async () => {
    const call = start(["exec", "guest", "--", "cat"], { stdin: Buffer.of(0, 255, 13, 10) });
    expect(await call.exitCode).toBe(0);
    expect(Buffer.concat(call.stdout.chunks)).toEqual(Buffer.of(0, 255, 13, 10));
  });

  it("leaves a terminal's keyboard alone, unless it is asked for", async () => {
    expect(await cli(["exec", "guest", "--", "cat"], { tty: true })).toMatchObject({ exitCode: 0, stdout: "" });
    const call = start(["exec", "-i", "guest", "--", "cat"], { tty: true });
    call.stdin.end("typed");
    expect(await call.exitCode).toBe(0);
    expect(call.stdout.text).toBe("typed");
  });

  it("takes what follows -- as it is", async () => {
    expect((await cli(["exec", "guest", "--", "print", "--format", "-q"])).stdout).toBe("--format");
    expect((await cli(["exec", "--env", "A=b", "guest", "--", "env"])).stdout).toContain("A=b");
  });

  it.each([
    [["exec", "guest", "--", "nope"], "GUEST_COMMAND_FAILED"],
    [["exec", "nobody", "--", "true"], "NOT_FOUND"],
    [["exec", "-t", "guest", "--", "true"], "no terminal"],
  ])("%j ends with status 125, for it could not be run", async (argv, message) => {
    expect(await cli(argv)).toMatchObject({ exitCode: 125, stdout: "", stderr: expect.stringContaining(message) });
  });

  it("gives the program the first Ctrl-C", async () => {
    const call = start(["exec", "guest", "--", "flood"]);
    await call.stdout.shows("xx");
    call.interrupt();
    expect(await call.exitCode).toBe(130);
    expect(call.stderr.text).toBe("");
  });

  it("ends a program whose time is up with status 124", async () => {
    const result = await cli(["exec", "--timeout", "50ms", "guest", "--", "stubborn"]);
    expect(result).toMatchObject({ exitCode: 124, stderr: expect.stringContaining("GUEST_EXEC_TIMEOUT") });
  });

  it("ends quietly when nobody reads what the program prints", async () => {
    const call = start(["exec", "guest", "--", "flood"]);
    await call.stdout.shows("xx");
    call.stdout.isClosed = true;
    expect(await call.exitCode).toBe(0);
    expect(call.stderr.text).toBe("");
  });
});

describe("shell", () => {
  it("has a terminal in raw mode, follows its size, and puts it back", async () => {
    const call = start(["shell", "guest", "--", "cat"], { tty: true });
    call.stdin.write("abc");
    await call.stdout.shows("abc");
    expect(call.stdin.rawModes).toEqual([true]);
    call.resize(99, 33);
    await call.stdout.shows("33 99");
    call.stdin.end();
    expect(await call.exitCode).toBe(0);
    expect(call.stdin.rawModes).toEqual([true, false]);
  });

  it("puts the terminal back when it is asked to end", async () => {
    const call = start(["shell", "guest", "--", "cat"], { tty: true });
    call.stdin.write("abc");
    await call.stdout.shows("abc");
    call.interrupt("SIGTERM");
    expect(await call.exitCode).toBe(130);
    expect(call.stdin.rawModes).toEqual([true, false]);
  });
});
