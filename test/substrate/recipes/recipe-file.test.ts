import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { recipeFromFile } from "../../../lib/substrate/recipes/index.ts";

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "recipe-"));
});
afterEach(() => rm(dir, { recursive: true }));

async function load(text: string, name = "web.yaml") {
  const file = join(dir, name);
  await writeFile(file, text);
  return recipeFromFile(file);
}

const refused = (text: string, message: RegExp) =>
  expect(load(text)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) });

describe("a recipe file", () => {
  it("gives a guest, and its own name unless it says another", async () => {
    const { name, recipe } = await load("from: debian\nmemoryMiB: 256\nkernelArguments: [nokaslr]\n");
    expect(name).toBe("web");
    expect(recipe.guest).toMatchObject({ recipe: "debian", memoryMiB: 256, cpus: 1 });
    expect(recipe.guest.kernelCommandLine.split(" ")).toContain("nokaslr");
    expect(recipe.guest.ready.at(-1)).toEqual({ probe: "system" });
    expect((await load("from: debian\nname: front\n")).name).toBe("front");
  });

  it("is another recipe exactly when what it makes is another", async () => {
    const key = async (text: string) => (await load(text)).recipe.inputsKey();
    const first = await key("from: debian\nrun: [a, b]\n");
    expect(await key("# a comment\nrun:\n  - a\n  - b\nfrom: debian\n")).toBe(first);
    const others = [
      "from: debian\nrun: [b, a]\n",
      "from: debian\nrun: [a, b]\npackages: [nginx]\n",
      "from: debian\nrun: [a, b]\nfiles: [{ path: /a, content: x }]\n",
      "from: debian\nrun: [a, b]\nmemoryMiB: 256\n",
      "from: debian\nrun: [a, b]\nready: [{ probe: port, port: 80 }]\n",
    ];
    const keys = new Set([first]);
    for (const text of others) keys.add(await key(text));
    expect(keys.size).toBe(6);
  });

  it("takes files beside it, and their content is part of it", async () => {
    const text = "from: debian\nfiles: [{ path: /etc/motd, source: motd, mode: '0600' }]\n";
    await writeFile(join(dir, "motd"), "one");
    const { recipe } = await load(text);
    const key = await recipe.inputsKey();
    await writeFile(join(dir, "motd"), "two");
    expect(await (await load(text)).recipe.inputsKey()).not.toBe(key);
  });

  it.each([
    ["an unknown key", "from: debian\npackges: [nginx]\n", /packges/],
    ["an unknown kind", "from: fedora\n", /expected "debian" or "disk"/],
    ["no kind", "packages: []\n", /from/],
    ["no mapping", "- from: debian\n", /recipe/],
    ["nothing", "", /recipe/],
    ["no YAML", "from: [debian\n", /not YAML/],
    ["a key twice", "from: debian\nname: a\nname: b\n", /not YAML/],
    ["a package that is an option", "from: debian\npackages: [--allow-unauthenticated]\n", /packages/],
    ["a package that is two", "from: debian\npackages: ['a,b']\n", /packages/],
    ["a unit that is an option", "from: debian\nunits: [--now]\n", /units/],
    ["kernel arguments with a space", "from: debian\nkernelArguments: ['a b']\n", /kernelArguments/],
    ["a relative path", "from: debian\nfiles: [{ path: etc/motd, content: x }]\n", /path/],
    ["a path that climbs", "from: debian\nfiles: [{ path: /etc/../motd, content: x }]\n", /path/],
    ["content and source", "from: debian\nfiles: [{ path: /a, content: x, source: y }]\n", /either content or source/],
    ["a mode that is none", "from: debian\nfiles: [{ path: /a, content: x, mode: '0888' }]\n", /mode/],
    ["too little memory", "from: debian\nmemoryMiB: 16\n", /memoryMiB/],
    ["an unknown probe", "from: debian\nready: [{ probe: magic }]\n", /ready/],
    ["a probe's unknown key", "from: debian\nready: [{ probe: port, port: 80, host: x }]\n", /ready/],
    ["a name that is a path", "from: debian\nname: ../x\n", /name/],
  ])("refuses %s", (_, text, message) => refused(text, message));

  it("refuses aliases that would make it endless", async () => {
    const lines = ["a0: &a0 [x, x]"];
    for (let i = 1; i < 20; i++)
      lines.push(`a${i}: &a${i} [${Array.from({ length: 9 }, () => `*a${i - 1}`).join(", ")}]`);
    await refused(`${lines.join("\n")}\nfrom: debian\n`, /alias/i);
  });

  it("refuses files that are outside of its folder, also behind a link", async () => {
    const outside = join(dir, "secret");
    await writeFile(outside, "secret");
    const inner = join(dir, "inner");
    await mkdir(inner);
    await symlink(outside, join(inner, "link"));
    for (const source of ["../secret", "link", outside]) {
      await writeFile(join(inner, "r.yaml"), `from: debian\nfiles: [{ path: /a, source: "${source}" }]\n`);
      await expect(recipeFromFile(join(inner, "r.yaml")), source).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
  });

  it("refuses what is not there or too large", async () => {
    await expect(recipeFromFile(join(dir, "none.yaml"))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await writeFile(join(dir, "big.yaml"), "");
    await truncate(join(dir, "big.yaml"), 2 ** 20);
    await expect(recipeFromFile(join(dir, "big.yaml"))).rejects.toMatchObject({
      message: expect.stringMatching(/larger/),
    });
    await writeFile(join(dir, "big"), "");
    await truncate(join(dir, "big"), 2 ** 27);
    await refused("from: debian\nfiles: [{ path: /a, source: big }]\n", /larger/);
  });
});
