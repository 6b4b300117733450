import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Paths } from "../../lib/host/index.ts";
import { Catalog, type Manifest, unpackArchive, writeArchive } from "../../lib/substrate/index.ts";
import { parseManifest, serializeManifest } from "../../lib/substrate/manifest.ts";
import { digestFile } from "../../lib/substrate/sparse-file.ts";
import { openFakePool } from "../support/fake-host.ts";
import { FAKE_QEMU } from "../support/fake-qemu-control.ts";
import { addFakeSubstrate } from "../support/fake-substrate.ts";

const CODE_BYTES = 8192;

/** A substrate as the recipe `disk` leaves it: booted by its firmware, and without a helper of ours. */
async function addDiskSubstrate(paths: Paths, name: string, firmware: "bios" | "uefi"): Promise<Manifest> {
  const { formatVersion: _, ...made } = await addFakeSubstrate(paths, { name });
  const files = paths.substrate(name, 1);
  const { kernel: _kernel, initrd: _initrd, ...kept } = made.files;
  for (const file of [files.kernel, files.initrd, files.manifest]) await rm(file, { force: true });
  const digests: Manifest["files"] = { ...kept };
  if (firmware === "uefi") {
    for (const file of ["firmwareCode", "firmwareVars"] as const) {
      await writeFile(files[file], Buffer.alloc(CODE_BYTES, file), { mode: 0o400 });
      digests[file] = await digestFile(files[file]);
    }
  }
  const content = { ...made, guest: { ...made.guest, recipe: "disk", helper: false, firmware }, files: digests };
  await writeFile(files.manifest, serializeManifest(content), { mode: 0o400 });
  return (await new Catalog(paths).latest(name)).manifest;
}

describe.each(["bios", "uefi"] as const)("a substrate of a disk under %s", (firmware) => {
  it("has its clones talked to by their agent, whatever the call says, also those of a dock", async () => {
    await using fake = await openFakePool();
    await addDiskSubstrate(fake.host.paths, "server", firmware);
    const [vm] = await fake.pool.activate(1, { substrate: "server" });
    expect((await vm?.exec(["hostname"]))?.stdout).toBe("server-0\n");
    expect(fake.qemu.vms[0]?.steps).not.toContain("personalise");
    await fake.pool.dock("server", { min: 1 });
    await fake.pool.docked("server", { count: 1 });
    const [docked] = await fake.pool.activate(1, { substrate: "server" });
    expect(docked?.origin).toBe("docked");
    expect((await docked?.exec(["hostname"]))?.stdout).toBe("server-1\n");
    for (const { steps } of fake.qemu.vms) expect(steps).not.toContain("personalise");
  });

  it("goes through an archive with the files that it boots by, and no others", async () => {
    await using fake = await openFakePool();
    const { paths } = fake.host;
    const manifest = await addDiskSubstrate(paths, "server", firmware);
    const archive = join(paths.stateDir, "server.tar.zst");
    const options = { signal: undefined, onProgress: undefined };
    await writeArchive(await new Catalog(paths).latest("server"), archive, options);
    await using unpacked = await unpackArchive(archive, { paths, qemu: { path: "qemu", ...FAKE_QEMU }, ...options });
    expect(unpacked.manifest).toEqual(manifest);
    for (const file of Object.keys(manifest.files) as (keyof Manifest["files"])[]) {
      expect(await digestFile(unpacked.files[file]), file).toEqual(manifest.files[file]);
    }
    await rm(archive);
  });

  it("has a manifest without files that its guest does not boot by", async () => {
    await using fake = await openFakePool();
    const manifest = await addDiskSubstrate(fake.host.paths, "server", firmware);
    const { formatVersion: _, ...content } = manifest;
    const digest = manifest.files.disk;
    const others: Manifest["files"][] = [
      { ...manifest.files, kernel: digest, initrd: digest },
      firmware === "bios"
        ? { ...manifest.files, firmwareVars: digest }
        : { ...manifest.files, firmwareVars: undefined },
    ];
    for (const files of others) {
      expect(() => parseManifest(serializeManifest({ ...content, files }), "it")).toThrow(/files are not those/);
    }
  });
});
