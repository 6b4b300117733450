import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { RecipePaths } from "../../../../lib/host/index.ts";
import type { RecipeContext } from "../../../../lib/substrate/recipe.ts";
import { recipeFromFile } from "../../../../lib/substrate/recipes/index.ts";

const BASE = "from: disk\nimage: server.raw\nformat: raw\nfirmware: bios\n";

let dir = "";
let recipes = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "recipe-"));
  recipes = join(dir, "recipes");
  await mkdir(recipes);
  await image(join(recipes, "server.raw"));
});
afterEach(() => rm(dir, { recursive: true }));

async function image(file: string): Promise<string> {
  await writeFile(file, "");
  await truncate(file, 2 ** 20);
  return file;
}

async function load(text: string) {
  const file = join(recipes, "server.yaml");
  await writeFile(file, text);
  return recipeFromFile(file);
}

const refused = (text: string, message: RegExp) =>
  expect(load(text)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) });

describe("a recipe from a disk", () => {
  it("gives a guest that boots by itself, with the files of a Linux with systemd", async () => {
    const { name, recipe } = await load(BASE);
    expect(name).toBe("server");
    expect(recipe.guest).toEqual({
      recipe: "disk",
      memoryMiB: 512,
      cpus: 1,
      firmware: "bios",
      kernelCommandLine: "",
      interface: "eth0",
      helper: false,
      ready: [
        { probe: "agent", timeoutMs: 300_000 },
        { probe: "system", timeoutMs: 300_000 },
      ],
      generalize: { remove: [], truncate: [], keep: [] },
      identity: {
        ipv6: true,
        vmGenerationId: false,
        hostname: "/etc/hostname",
        hosts: "/etc/hosts",
        machineId: "/etc/machine-id",
        sshHostKey: { path: "/etc/ssh/ssh_host_ed25519_key", format: "openssh" },
        authorizedKeys: "/root/.ssh/authorized_keys",
        randomSeed: "/var/lib/systemd/random-seed",
      },
    });
  });

  it("may say otherwise, and that something is not there", async () => {
    const { name, recipe } = await load(`${BASE}name: legacy
interface: ens5
helper: true
bootTimeoutMs: 1000
ready: [{ probe: port, port: 22, timeoutMs: 5 }]
identity: { sshHostKey: null, authorizedKeys: null, hostname: /etc/HOSTNAME, ipv6: false }
`);
    expect(name).toBe("legacy");
    expect(recipe.guest).toMatchObject({ interface: "ens5", helper: true });
    expect(recipe.guest.ready).toEqual([
      { probe: "agent", timeoutMs: 1000 },
      { probe: "helper", timeoutMs: 1000 },
      { probe: "port", port: 22, timeoutMs: 5 },
    ]);
    expect(recipe.guest.identity).toMatchObject({ hostname: "/etc/HOSTNAME", ipv6: false, hosts: "/etc/hosts" });
    expect(recipe.guest.identity).not.toHaveProperty("sshHostKey");
    expect(recipe.guest.identity).not.toHaveProperty("authorizedKeys");
  });

  it("grows as far as it says, on a partition or on the disk itself", async () => {
    const growthOf = async (growth: string) => (await load(`${BASE}growth: ${growth}\n`)).recipe.guest.growth;
    expect(await growthOf("{ maxCpus: 4 }")).toEqual({ maxCpus: 4, maxMemoryMiB: 512 });
    expect(await growthOf("{ disk: { maxDiskMiB: 4096, partition: 3 } }")).toEqual({
      maxCpus: 1,
      maxMemoryMiB: 512,
      disk: { kind: "partition", device: "vda3", mountPoint: "/", maxDiskMiB: 4096 },
    });
    expect(await growthOf("{ disk: { maxDiskMiB: 4096 } }")).toMatchObject({ disk: { kind: "disk", device: "vda" } });
  });

  it("is refused when its image has more than it may grow to, before that is copied", async () => {
    await truncate(join(recipes, "server.raw"), 8 * 2 ** 20);
    const { recipe } = await load(`${BASE}growth: { disk: { maxDiskMiB: 4, partition: 1 } }\n`);
    const making = recipe.make({ helper: join(dir, "helper"), dir } as RecipePaths, {} as RecipeContext);
    await expect(making).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringContaining("8 MiB") });
  });

  it("is another exactly when its document or its image is", async () => {
    const key = async (text: string) => (await load(text)).recipe.inputsKey();
    const first = await key(BASE);
    expect(await key(`# a comment\n${BASE}`)).toBe(first);
    const keys = new Set([first]);
    for (const more of ["cpus: 2", "cloudInit: true", "interface: ens5", "keep: [/var/log/app]"]) {
      keys.add(await key(`${BASE}${more}\n`));
    }
    await image(join(recipes, "server.raw"));
    keys.add(await key(BASE));
    expect(keys.size).toBe(6);
  });

  it.each([
    ["an unknown key", `${BASE}fimware: uefi\n`, /fimware/],
    ["an unknown key of the identity", `${BASE}identity: { hostnam: /etc/hostname }\n`, /hostnam/],
    ["no format", BASE.replace("format: raw\n", ""), /format/],
    ["a format that is none of ours", BASE.replace("raw\nfirmware", "vmdk\nfirmware"), /format/],
    ["no firmware", BASE.replace("firmware: bios\n", ""), /firmware/],
    ["no image", BASE.replace("image: server.raw\n", ""), /image/],
    ["a NIC's name with a space", `${BASE}interface: "eth0 up"\n`, /interface/],
    ["a path of the identity that leads elsewhere", `${BASE}identity: { hosts: /etc/../root/x }\n`, /hosts/],
    ["too little memory", `${BASE}memoryMiB: 64\n`, /memoryMiB/],
    ["too little memory for UEFI", `${BASE.replace("bios", "uefi")}memoryMiB: 192\n`, /memoryMiB.*256/s],
    ["less to grow to than it has", `${BASE}cpus: 4\ngrowth: { maxCpus: 2 }\n`, /growth\.maxCpus|maxCpus/],
    ["less memory to grow to", `${BASE}growth: { maxMemoryMiB: 256 }\n`, /maxMemoryMiB/],
    ["a partition that is none", `${BASE}growth: { disk: { maxDiskMiB: 99, partition: 0 } }\n`, /partition/],
    ["an image that is not there", BASE.replace("server.raw", "nothing.raw"), /nothing\.raw.*ENOENT/],
    ["a path out of its folder", BASE.replace("server.raw", "../other.raw"), /ENOENT|outside/],
  ])("is refused with %s", async (_what, text, message) => {
    await refused(text, message);
  });

  it("may name an image by a path that shows it, and not by one that hides it", async () => {
    const outside = await image(join(dir, "outside.raw"));
    await symlink(outside, join(recipes, "link.raw"));
    await refused(BASE.replace("server.raw", "link.raw"), /link\.raw is outside of the recipe's folder/);
    await refused(BASE.replace("server.raw", "../outside.raw"), /is outside of the recipe's folder/);
    const { recipe } = await load(BASE.replace("server.raw", outside));
    expect(await recipe.inputsKey()).toMatch(/^[0-9a-f]{16}$/);
    await symlink("server.raw", join(recipes, "inside.raw"));
    expect((await load(BASE.replace("server.raw", "inside.raw"))).name).toBe("server");
  });

  it("names what is wrong with its image when it is to be built", async () => {
    const { recipe } = await load(BASE.replace("format: raw", "format: qcow2"));
    await expect(recipe.inputsKey()).rejects.toMatchObject({
      code: "DISK_IMAGE_REFUSED",
      message: expect.stringContaining("is not a qcow2 image"),
    });
  });
});
