import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const UNIT = readFileSync(join(import.meta.dirname, "../packaging/vm-substrate.service"), "utf8");

let dir = "";
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "packaging-"));
});
afterAll(() => rmSync(dir, { recursive: true }));

/** What systemd itself says of a unit: nothing of one that it would start as it is written. */
function verify(text: string) {
  const file = join(dir, "vm-substrate.service");
  writeFileSync(file, text);
  const { status, stdout, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", file], { encoding: "utf8" });
  return { status, said: stdout + stderr };
}

describe("packaging/vm-substrate.service", () => {
  it.each([
    ["of a user", UNIT],
    ["of a machine", UNIT.replaceAll("# system: ", "")],
  ])("is a unit %s that systemd knows every word of", (_, text) => {
    expect(verify(text)).toEqual({ status: 0, said: "" });
  });

  it("would be told otherwise", () => {
    expect(verify(UNIT.replace("KillMode", "KilMode")).said).toContain("KilMode");
    expect(verify(UNIT.replace("/usr/bin/env", "/nowhere/env")).status).not.toBe(0);
  });
});
