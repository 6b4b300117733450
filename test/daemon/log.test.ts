import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { daemonLogger } from "../../daemon/log.ts";

async function logged(
  write: (logger: ReturnType<typeof daemonLogger>) => void,
  level: "debug" | "info" | "silent" = "info",
) {
  const dir = await mkdtemp(join(tmpdir(), "log-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const file = join(dir, "daemon.log");
  {
    await using owner = new AsyncDisposableStack();
    write(daemonLogger({ level, file }, owner));
  }
  const text = await readFile(file, "utf8");
  return {
    file,
    text,
    lines: text
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line)),
  };
}

describe("the daemon's log", () => {
  it("has one object a line, with time, level and process, in a file for its owner only", async () => {
    const { file, lines } = await logged((log) => {
      log.info({ vm: "a\nb" }, "first");
      log.debug("not wanted");
      log.warn("second");
    });
    expect(lines).toMatchObject([
      { level: "info", pid: process.pid, msg: "first", vm: "a\nb", time: expect.stringMatching(/^\d{4}-.*Z$/) },
      { level: "warn", msg: "second" },
    ]);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  it("has no secrets, however deep they are given", async () => {
    const secret = "s3cr3t";
    const held = {
      token: secret,
      authorization: secret,
      cookie: secret,
      env: { KEY: secret },
      files: [{ content: secret }],
      stdin: secret,
      stdinBase64: secret,
      content: secret,
      authorizedKeys: [secret],
    };
    const { text, lines } = await logged((log) => {
      log.info(held, "at the top");
      log.info({ spec: held }, "within");
      log.info({ call: { spec: held } }, "deeper");
      log.info({ req: { headers: { authorization: secret } } }, "of a request");
      log
        .child({ reqId: "x", env: secret })
        .error({ err: Object.assign(new Error("failed"), { env: secret }) }, "child");
    });
    expect(lines).toHaveLength(5);
    expect(text).not.toContain(secret);
    expect(text).toContain("[redacted]");
  });

  it("may be silent", async () => {
    expect((await logged((log) => log.error("no"), "silent")).text).toBe("");
  });

  it("that cannot be written is told by a code of ours, and a full disk is not the daemon's end", async () => {
    await using owner = new AsyncDisposableStack();
    expect(() => daemonLogger({ level: "info", file: "/nowhere/daemon.log" }, owner)).toThrow(
      expect.objectContaining({ code: "HOST_IO_FAILED" }),
    );
    const full = daemonLogger({ level: "info", file: "/dev/full" }, owner);
    for (let i = 0; i < 100; i++) full.info("x".repeat(1000));
    await new Promise((resolve) => setImmediate(resolve));
  });
});
