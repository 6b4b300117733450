import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { findArguments, matches } from "../../../lib/substrate/generalize/find.ts";
import { ALWAYS_KEPT, TRACES } from "../../../lib/substrate/generalize/traces.ts";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "find-"));
  for (const file of [
    "etc/ssh/ssh_host_a",
    "etc/ssh/sshd_config",
    "home/u/.ssh/authorized_keys",
    "log/a/b",
    "log/empty",
  ]) {
    mkdirSync(dirname(join(dir, file)), { recursive: true });
    writeFileSync(join(dir, file), file.endsWith("empty") ? "" : "x");
  }
});
afterEach(() => rmSync(dir, { recursive: true }));

function find(patterns: string[], except: string[] = [], filled = false): string[] {
  const inside = (paths: string[]) => paths.map((path) => dir + path);
  const [program = "", ...args] = findArguments({ patterns: inside(patterns), except: inside(except), filled });
  const found = execFileSync(program, [...args, "-print"], { encoding: "utf8" })
    .trim()
    .split("\n");
  return found
    .map((path) => path.slice(dir.length))
    .filter((path) => path !== "")
    .toSorted();
}

describe("a search in a guest", () => {
  it("finds what matches and nothing else, folders after what is in them", () => {
    expect(find(["/etc/ssh/ssh_host_*", "/home/*/.ssh/authorized_keys*"])).toEqual([
      "/etc/ssh/ssh_host_a",
      "/home/u/.ssh/authorized_keys",
    ]);
    expect(find(["/log/*"])).toEqual(["/log/a", "/log/a/b", "/log/empty"]);
  });

  it("leaves out what is to be kept, and with `filled` what is empty", () => {
    expect(find(["/log/*"], ["/log/a*"])).toEqual(["/log/empty"]);
    expect(find(["/log/*"], [], true)).toEqual(["/log/a/b"]);
  });

  it("agrees with itself about what a pattern matches", () => {
    expect(matches("/home/*/.ssh/id_*", "/home/u/.ssh/id_ed25519")).toBe(true);
    expect(matches("/root/.*_history", "/root/.bash_history")).toBe(true);
    expect(matches("/root/.*_history", "/root/xbash_history")).toBe(false);
    expect(matches("/var/log/*", "/var/log")).toBe(false);
  });
});

describe("the registry of traces", () => {
  it("names each once, with a reason, and absolute paths that cannot match everything", () => {
    expect(new Set(TRACES.map(({ name }) => name)).size).toBe(TRACES.length);
    for (const { why, paths } of TRACES) {
      expect(why).not.toBe("");
      for (const path of paths) expect(path).toMatch(/^\/[a-z]+\/.+/);
    }
    for (const path of ALWAYS_KEPT) expect(path).toMatch(/^\//);
  });
});
