import { chmod, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readTokens, Tokens } from "../../daemon/tokens.ts";

let dir: string;
let file: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "tokens-"));
  file = join(dir, "tokens");
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const write = async (text: string, mode = 0o600) => {
  await writeFile(file, text, { mode });
  await chmod(file, mode);
};
const token = (letter: string) => letter.repeat(43);

describe("a token file", () => {
  it("is made with one token of each scope, for its owner only", async () => {
    const tokens = await Tokens.load(file);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const made = await readTokens(file);
    expect(made.map(({ scope }) => scope)).toEqual(["read", "write"]);
    for (const one of made) expect(tokens.scopeOf(one.token)).toBe(one.scope);
    expect(new Set(made.map((one) => one.token)).size).toBe(2);
    const before = await readFile(file, "utf8");
    await Tokens.load(file);
    expect(await readFile(file, "utf8")).toBe(before);
  });

  it("may have comments, empty lines, and line ends of another system", async () => {
    await write(`# mine\r\n\r\nread ${token("r")}\r\n  write ${token("w")}  \n`);
    const tokens = await Tokens.load(file);
    expect([tokens.scopeOf(token("r")), tokens.scopeOf(token("w"))]).toEqual(["read", "write"]);
  });

  it("gives the greater scope of a token that is there twice", async () => {
    await write(`read ${token("x")}\nwrite ${token("x")}\nread ${token("x")}\n`);
    expect((await Tokens.load(file)).scopeOf(token("x"))).toBe("write");
  });

  it.each([0o640, 0o604, 0o660, 0o666, 0o610])("is refused when others may use it: %o", async (mode) => {
    await write(`read ${token("r")}\n`, mode);
    await expect(Tokens.load(file)).rejects.toMatchObject({ code: "UNSAFE_DIRECTORY" });
  });

  it.each([
    "admin",
    "read",
    `read ${"x".repeat(42)}`,
    `read ${token("x")} more`,
    `READ ${token("x")}`,
    `read ${token("+")}`,
  ])("is refused with the line %j, which is named and not shown", async (line) => {
    await write(`# first\n${line}\n`);
    const error = await Tokens.load(file).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringContaining(":2:") });
    expect(String(error)).not.toContain("xxx");
  });

  it("that cannot be made is told by a code of ours", async () => {
    await expect(Tokens.load(join(dir, "missing", "tokens"))).rejects.toMatchObject({ code: "HOST_IO_FAILED" });
  });
});

describe("a token", () => {
  it("is known as a whole only", async () => {
    await write(`read ${token("r")}\n`);
    const tokens = await Tokens.load(file);
    for (const other of [
      "",
      token("r").slice(1),
      `${token("r")}r`,
      token("R"),
      `read ${token("r")}`,
      "\0",
      "__proto__",
    ]) {
      expect(tokens.scopeOf(other), other).toBeUndefined();
    }
  });

  it("is not kept: only digests of one length are compared", async () => {
    await write(`read ${token("r")}\n`);
    const tokens = await Tokens.load(file);
    expect(JSON.stringify(tokens)).not.toContain("rrr");
    const source = await readFile(new URL("../../daemon/tokens.ts", import.meta.url), "utf8");
    expect(source).toContain("timingSafeEqual(one.digest, digest)");
  });
});
