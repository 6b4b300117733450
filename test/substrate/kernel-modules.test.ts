import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { modulesInLoadOrder } from "../../lib/substrate/recipes/kernel-modules.ts";

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "modules-"));
});
afterEach(() => rm(dir, { recursive: true }));

/** A file with a .modinfo section like a module's, in binary surroundings. */
async function module(path: string, depends: string): Promise<void> {
  await mkdir(dirname(join(dir, path)), { recursive: true });
  const modinfo = `\x7fELF\0\xffjunk\0license=GPL\0depends=${depends}\0retpoline=Y\0vermagic=6.1\0\xfe`;
  await writeFile(join(dir, path), modinfo, "latin1");
}

const order = async (...wanted: string[]) => (await modulesInLoadOrder(dir, wanted)).map((file) => basename(file));

describe("modulesInLoadOrder", () => {
  it("puts what a module needs before it, each once", async () => {
    await module("drivers/virtio/virtio.ko", "");
    await module("drivers/virtio/virtio_ring.ko", "virtio");
    await module("drivers/virtio/virtio_pci.ko", "virtio_ring,virtio");
    await module("drivers/net/net_failover.ko", "failover");
    await module("net/core/failover.ko", "");
    await module("drivers/net/virtio_net.ko", "net_failover,virtio_ring,virtio");
    expect(await order("virtio_pci", "virtio_net", "virtio")).toEqual([
      "virtio.ko",
      "virtio_ring.ko",
      "virtio_pci.ko",
      "failover.ko",
      "net_failover.ko",
      "virtio_net.ko",
    ]);
  });

  it("takes - and _ for the same", async () => {
    await module("crc-itu-t.ko", "");
    await module("a_b.ko", "crc_itu_t");
    expect(await order("a-b".replaceAll("-", "_"))).toEqual(["crc-itu-t.ko", "a_b.ko"]);
  });

  it("names a module that is not there, wanted or needed", async () => {
    await module("a.ko", "b");
    const missing = (name: string) => ({ code: "RECIPE_FAILED", message: expect.stringContaining(`"${name}"`) });
    await expect(order("c")).rejects.toMatchObject(missing("c"));
    await expect(order("a")).rejects.toMatchObject(missing("b"));
  });
});
