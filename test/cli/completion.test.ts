import { spawnSync } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cli } from "../support/cli.ts";

let dir = "";
let script = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "completion-"));
  script = join(dir, "substrate.bash");
  await writeFile(script, (await cli(["completion", "bash"])).stdout);
  // Stands in for the program, which the script asks for names.
  await writeFile(
    join(dir, "substrate"),
    '#!/bin/sh\n[ "$1 $2" = "complete-names vm" ] && echo node-0 && echo node-1\n',
  );
  await chmod(join(dir, "substrate"), 0o755);
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** What bash offers for the last of these words. */
function offered(...words: string[]): string[] {
  const line = [
    `source ${script}`,
    `COMP_WORDS=(${["substrate", ...words].map((word) => `'${word}'`).join(" ")})`,
    `COMP_CWORD=${words.length}`,
    "_substrate",
    `printf "%s\\n" "\${COMPREPLY[@]}"`,
  ].join("; ");
  const env = { ...process.env, PATH: `${dir}${delimiter}${process.env.PATH}` };
  const { stdout, stderr, status } = spawnSync("bash", ["--norc", "-c", line], { encoding: "utf8", cwd: dir, env });
  expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
  return stdout.split("\n").filter((word) => word !== "");
}

describe("the script for bash", () => {
  it("is one", () => {
    expect(spawnSync("bash", ["-n", script], { encoding: "utf8" })).toMatchObject({ status: 0, stderr: "" });
  });

  it.each([
    [["act"], ["activate"]],
    [["re"], ["resume", "release"]],
    [
      ["dock", ""],
      ["ls", "set", "rm", "wait"],
    ],
    [
      ["dock", "set", "--max"],
      ["--max", "--max-mib"],
    ],
    [["activate", "--idem"], ["--idempotency-key"]],
    [["--format", "ps", "--form"], ["--format"]],
    [["ps", "--format", "j"], ["json"]],
    [
      ["park", "nod"],
      ["node-0", "node-1"],
    ],
    [["exec", "node-0", "--", "l"], []],
  ])("offers after %j: %j", (words, expected) => {
    expect(
      offered(...words)
        .filter((word) => !word.startsWith("complete-"))
        .toSorted(),
    ).toEqual(expected.toSorted());
  });
});

describe("the scripts for other shells", () => {
  it.each(["zsh", "fish"])("of %s name every command", async (shell) => {
    const { stdout } = await cli(["completion", shell]);
    for (const name of ["activate", "dock", "exec", "daemon", "--idempotency-key"]) {
      expect(stdout).toContain(shell === "fish" ? name.replace(/^--/, "-l ") : name);
    }
    expect(stdout).not.toContain("undefined");
  });

  it("of another shell are refused", async () => {
    expect((await cli(["completion", "csh"])).exitCode).toBe(2);
  });
});
