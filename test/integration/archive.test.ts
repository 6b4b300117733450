import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Paths } from "../../lib/host/index.ts";
import { isVmSubstrateError, Pool } from "../../lib/index.ts";
import { output } from "../support/inside.ts";
import { labDirectories, openLab } from "../support/lab.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";

test("a substrate that was exported is imported into another state directory, and a VM of it works", async () => {
  const stateDir = await mkdtemp(join(tmpdir(), "vm-import-"));
  const directories = { stateDir, cacheDir: labDirectories().cacheDir };
  const archive = join(stateDir, "mini.tar.zst");
  try {
    {
      await using lab = await openLab();
      const { sizeBytes } = await lab.pool.exportSubstrate("mini@1", archive);
      const [substrate] = await lab.pool.substrates();
      expect(sizeBytes).toBeLessThan((substrate?.memory.residentBytes ?? 0) + 64 * 2 ** 20);
    }
    await using pool = await Pool.open(directories);
    expect(await pool.importSubstrate(archive, { name: "copy" })).toMatchObject({
      name: "copy",
      version: 1,
      reused: false,
    });
    const [original, copy] = [
      new Paths(labDirectories()).substrate("mini", 1),
      new Paths(directories).substrate("copy", 1),
    ];
    expect((await readFile(copy.ram)).equals(await readFile(original.ram))).toBe(true);
    // File systems round what they keep: a tenth is far from what a file without holes would take.
    expect((await stat(copy.ram)).blocks).toBeLessThan((await stat(original.ram)).blocks * 1.1);
    const [vm] = await pool.activate(1, { substrate: "copy@1", hostname: "far-away" });
    if (vm === undefined) throw new Error("no VM");
    expect(await output(vm, "hostname")).toBe("far-away");
    await expect(pool.removeSubstrate("copy")).rejects.toSatisfy((error) =>
      isVmSubstrateError(error, "SUBSTRATE_IN_USE"),
    );
    expect(await pool.importSubstrate(archive, { name: "copy" })).toMatchObject({ version: 1, reused: true });
    expect(await pool.scrubSubstrates()).toMatchObject({ damaged: 0, substrates: [{ name: "copy", state: "ok" }] });
    await vm.release();
    expect(await pool.removeSubstrate("copy")).toEqual([{ name: "copy", version: 1 }]);
    await pool.close();
    await expectNothingLeft(directories);
  } finally {
    await rm(stateDir, { recursive: true, force: true });
  }
});
