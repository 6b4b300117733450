import { randomBytes } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { GuestAgent, guestExec, readGuestFile, writeGuestFile } from "../../lib/qmp/index.ts";

/** A running guest whose agent is reached at `path`. */
export interface GuestAgentTarget extends AsyncDisposable {
  readonly path: string;
}

export interface GuestAgentConformanceOptions {
  /** Milliseconds for one command or program; an emulated guest is slow. Default 10 000. */
  readonly timeoutMs?: number;
  /** Writable directory in the guest. Default /tmp. */
  readonly directory?: string;
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}

/** What every guest agent must do. Each test gets a target of its own, which may be the same guest again. */
export function describeGuestAgentConformance(
  name: string,
  start: () => Promise<GuestAgentTarget>,
  options: GuestAgentConformanceOptions = {},
): void {
  const { timeoutMs = 10_000, directory = "/tmp" } = options;
  const connect = (target: GuestAgentTarget) => GuestAgent.connect(target.path, { retryUntilPresent: true, timeoutMs });

  describe(`guest agent conformance of ${name}`, () => {
    it("synchronises, again and again", async () => {
      await using target = await start();
      await using agent = await connect(target);
      expect(agent.needsSync).toBe(true);
      for (let round = 0; round < 3; round++) await agent.sync({ timeoutMs });
      expect(agent.needsSync).toBe(false);
    });

    it("answers a ping and tells its version and commands", async () => {
      await using target = await start();
      await using agent = await connect(target);
      await agent.execute("guest-ping", {}, { timeoutMs });
      const info = await agent.execute("guest-info", {}, { timeoutMs });
      expect(info.version).toMatch(/^\d+\.\d+/);
      expect(info.supported_commands.map((command) => command.name)).toContain("guest-exec");
    });

    it("answers commands that are sent at once, each to its caller", async () => {
      await using target = await start();
      await using agent = await connect(target);
      const [info, time, host] = await Promise.all([
        agent.execute("guest-info", {}, { timeoutMs }),
        agent.execute("guest-get-time", {}, { timeoutMs }),
        agent.execute("guest-get-host-name", {}, { timeoutMs }),
        agent.execute("guest-ping", {}, { timeoutMs }),
      ]);
      expect(info).toHaveProperty("version");
      expect(time).toBeGreaterThan(0);
      expect(host).toHaveProperty("host-name");
    });

    it("refuses an unknown command, and stays usable", async () => {
      await using target = await start();
      await using agent = await connect(target);
      await expect(agent.execute("guest-no-such-command", {}, { timeoutMs })).rejects.toMatchObject({
        code: "GUEST_COMMAND_FAILED",
        details: { command: "guest-no-such-command", class: "CommandNotFound" },
      });
      expect(agent.needsSync).toBe(false);
      await agent.execute("guest-ping", {}, { timeoutMs });
    });

    it("gives every command its own answer although others were aborted at any moment", async () => {
      await using target = await start();
      await using agent = await connect(target);
      for (let turns = 0; turns < 12; turns++) {
        const controller = new AbortController();
        const aborted = agent.execute("guest-ping", {}, { timeoutMs, signal: controller.signal }).catch(() => {});
        for (let turn = 0; turn < turns; turn++) await nextTurn();
        controller.abort();
        expect(await agent.execute("guest-info", {}, { timeoutMs })).toHaveProperty("version");
        await aborted;
      }
    });

    it("runs programs and reports how they ended", async () => {
      await using target = await start();
      await using agent = await connect(target);
      expect(await guestExec(agent, ["true"], { timeoutMs })).toMatchObject({ exitCode: 0, signal: null });
      expect(await guestExec(agent, ["false"], { timeoutMs })).toMatchObject({ exitCode: 1, signal: null });
      const killed = await guestExec(agent, ["sh", "-c", "kill -9 $$"], { timeoutMs });
      expect(killed).toMatchObject({ exitCode: null, signal: 9 });
    });

    it("refuses a program that is not there", async () => {
      await using target = await start();
      await using agent = await connect(target);
      const missing = guestExec(agent, ["/no/such/program"], { timeoutMs });
      await expect(missing).rejects.toMatchObject({ code: "GUEST_COMMAND_FAILED" });
    });

    it("passes standard input and returns standard output, byte for byte", async () => {
      await using target = await start();
      await using agent = await connect(target);
      const stdin = randomBytes(50_000);
      const { stdout, truncated } = await guestExec(agent, ["cat"], { stdin, timeoutMs });
      expect(stdin.equals(stdout)).toBe(true);
      expect(truncated).toBe(false);
    });

    it("runs a program in the given environment, with a PATH", async () => {
      await using target = await start();
      await using agent = await connect(target);
      const { stdout } = await guestExec(agent, ["env"], { env: { GREETING: "a=b c" }, timeoutMs });
      const lines = text(stdout).trim().split("\n");
      expect(lines).toContain("GREETING=a=b c");
      expect(lines.some((line) => line.startsWith("PATH=/"))).toBe(true);
    });

    it("kills a program that runs out of time, and stays usable", async () => {
      await using target = await start();
      await using agent = await connect(target);
      await agent.sync({ timeoutMs });
      // Long enough for a slow guest to have started it; not so long that it is worth waiting for.
      const late = guestExec(agent, ["sleep", "1000"], { timeoutMs: Math.min(timeoutMs, 1_000) });
      await expect(late).rejects.toMatchObject({ code: "GUEST_EXEC_TIMEOUT" });
      expect(await guestExec(agent, ["true"], { timeoutMs })).toMatchObject({ exitCode: 0 });
    });

    it("writes, appends and reads files in pieces", async () => {
      await using target = await start();
      await using agent = await connect(target);
      const path = `${directory}/conformance-${randomBytes(4).toString("hex")}`;
      const content = randomBytes(600_000);
      await writeGuestFile(agent, path, content, { timeoutMs });
      expect(content.equals(await readGuestFile(agent, path, { timeoutMs }))).toBe(true);
      await writeGuestFile(agent, path, "more", { mode: "a", timeoutMs });
      const grown = await readGuestFile(agent, path, { timeoutMs });
      expect(text(grown.subarray(600_000))).toBe("more");
      await expect(readGuestFile(agent, path, { maxBytes: 600_003, timeoutMs })).rejects.toMatchObject({
        code: "GUEST_COMMAND_FAILED",
      });
      await writeGuestFile(agent, path, "", { timeoutMs });
      expect(await readGuestFile(agent, path, { timeoutMs })).toHaveLength(0);
    });

    it("refuses to read a file that is not there", async () => {
      await using target = await start();
      await using agent = await connect(target);
      await expect(readGuestFile(agent, `${directory}/no/such/file`, { timeoutMs })).rejects.toMatchObject({
        code: "GUEST_COMMAND_FAILED",
      });
    });
  });
}
