import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { runTool } from "../../lib/host/index.ts";

const OPTIONS = { timeoutMs: 5000 };
const node = (script: string, ...args: string[]) => [process.execPath, "-e", script, ...args] as const;

describe("runTool", () => {
  it("gives what the program printed", async () => {
    expect((await runTool(["cat"], { ...OPTIONS, stdin: "a\0b" })).toString("latin1")).toBe("a\0b");
  });

  it("passes arguments as they are, never through a shell", async () => {
    const hostile = "$(touch /tmp/x); `id` && \"'\n";
    expect((await runTool(["printf", "%s", hostile], OPTIONS)).toString()).toBe(hostile);
  });

  it("says which program is missing", async () => {
    const missing = { code: "RECIPE_TOOL_MISSING", details: { program: "no-such-program" } };
    await expect(runTool(["no-such-program"], OPTIONS)).rejects.toMatchObject(missing);
  });

  it("says what a failing program said", async () => {
    const message = expect.stringMatching(/status 3: it broke/);
    const failing = ["sh", "-c", "echo it broke >&2; exit 3"] as const;
    await expect(runTool(failing, OPTIONS)).rejects.toMatchObject({ code: "RECIPE_FAILED", message });
    const coded = runTool(failing, { ...OPTIONS, failureCode: "BUILD_FAILED" });
    await expect(coded).rejects.toMatchObject({ code: "BUILD_FAILED", details: { code: 3 } });
    await expect(runTool(["false"], OPTIONS)).rejects.toThrow("(no output)");
  });

  it("keeps only the tail of a long complaint", async () => {
    const failing = node("process.stderr.write('x'.repeat(1e6) + 'the end'); process.exitCode = 1");
    const error = await runTool(failing, OPTIONS).catch((thrown: Error) => thrown);
    expect(String(error)).toMatch(/the end$/);
    expect(String(error).length).toBeLessThan(3000);
  });

  it("kills a program at its deadline", async () => {
    const running = runTool(["sleep", "61"], { timeoutMs: 20 });
    await expect(running).rejects.toMatchObject({ code: "TIMEOUT" });
    expect(await sleepers("61")).toEqual([]);
  });

  it("kills a program when the caller gives up", async () => {
    const running = runTool(["sleep", "62"], { ...OPTIONS, signal: AbortSignal.timeout(20) });
    await expect(running).rejects.toMatchObject({ code: "ABORTED" });
    expect(await sleepers("62")).toEqual([]);
  });

  it("stops a program that prints without end", async () => {
    await expect(runTool(["yes"], OPTIONS)).rejects.toThrow(/SIGKILL/);
  });

  it("survives a program that does not read its input", async () => {
    await runTool(["true"], { ...OPTIONS, stdin: "x".repeat(1e6) });
  });
});

/** Command lines of our children `sleep SECONDS` that are not gone or going. */
async function sleepers(seconds: string): Promise<string[]> {
  const pids = (await readFile(`/proc/self/task/${process.pid}/children`, "latin1")).trim().split(" ");
  const states = await Promise.all(
    pids.map(async (pid) => {
      const commandLine = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
      return commandLine === `sleep\0${seconds}\0` ? pid : "";
    }),
  );
  return states.filter((pid) => pid !== "");
}
