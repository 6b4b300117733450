import { createHash, randomBytes } from "node:crypto";
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLogger } from "../../lib/core/index.ts";
import { identifyQemu, Paths } from "../../lib/host/index.ts";
import type { Pool, Vm } from "../../lib/index.ts";
import { buildSubstrate, type Recipe, recipeNamed } from "../../lib/substrate/index.ts";
import { asQcow2, assembleImage, type ImageParts, miniFiles } from "../support/boot-images.ts";
import { output } from "../support/inside.ts";
import { labDirectories, openLab } from "../support/lab.ts";
import { OTHER_FILE_SYSTEMS, type OtherFileSystem, partsOnOtherFileSystems } from "../support/other-file-systems.ts";
import { activateOne } from "../support/vms.ts";

const MIB = 2 ** 20;
const SETUP_TIMEOUT_MS = 240_000;
const TIMEOUT_MS = 120_000;
const WHOLE_DISK = { kind: "disk", device: "vda", maxDiskMiB: 4096 } as const;
const LITTLE = { diskMiB: 400 };
const LARGE = { diskMiB: 2048 };
/** What a claimed VM writes more than it could have before. */
const BEYOND_MIB = 64;
/** As the guest of `mini` is: see test/integration/disk-recipe.test.ts. */
const GUEST = `
memoryMiB: 256
bootTimeoutMs: 90000
helper: true
ready: [{ probe: port, port: 22 }]
growth: { disk: { maxDiskMiB: 4096, partition: 2 } }
identity:
  sshHostKey: { path: /etc/dropbear/dropbear_ed25519_host_key, format: dropbear }
  dbusMachineId: /var/lib/dbus/machine-id
  randomSeed: /var/lib/random-seed
  vmGenerationId: true
`;

let dir = "";
let parts: Readonly<Record<OtherFileSystem, ImageParts>>;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "vm-fs-"));
  parts = await partsOnOtherFileSystems(dir);
}, SETUP_TIMEOUT_MS);
afterAll(() => rm(dir, { recursive: true, force: true }));

const sh = (vm: Vm, command: string) => output(vm, "sh", "-c", command);

/** By programs of the guest's own: the size and the free space of its root, and where that is. */
async function rootOf(vm: Vm) {
  const type = /^\S+ \/ (\S+) /m.exec(await sh(vm, "grep ' / ' /proc/mounts"))?.[1];
  const [total, , available] = (await sh(vm, "df -m / | tail -n 1")).split(/\s+/).slice(1).map(Number);
  return { type, totalMiB: total ?? 0, availableMiB: available ?? 0 };
}

/** A file that is read back from the disk, of which nothing is in the guest's memory by then. */
async function expectWritten(vm: Vm, sizeMiB: number): Promise<void> {
  const piece = randomBytes(MIB);
  await vm.writeFile("/run/piece", piece);
  await sh(vm, `cat $(yes /run/piece | head -n ${sizeMiB}) > /root/large; sync; echo 3 > /proc/sys/vm/drop_caches`);
  const hash = createHash("md5");
  for (let i = 0; i < sizeMiB; i++) hash.update(piece);
  expect(await sh(vm, "md5sum < /root/large")).toContain(hash.digest("hex"));
}

/** By the word of its kernel: it took the new generation for what it is, beside the entropy that the VM is given in any case. */
async function expectReseeded(vm: Vm): Promise<void> {
  expect(await output(vm, "dmesg")).toContain("crng reseeded due to virtual machine fork");
}

async function expectGrows(pool: Pool, substrate: string, kind: OtherFileSystem): Promise<void> {
  const small = await rootOf(await activateOne(pool, { substrate }));
  expect(small.type).toBe(kind);
  expect(small.totalMiB).toBeLessThan(400);
  const vm = await activateOne(pool, { substrate, resources: LARGE });
  expect(vm.resources).toMatchObject(LARGE);
  const large = await rootOf(vm);
  expect(large.type).toBe(kind);
  expect(large.totalMiB).toBeGreaterThan(0.9 * LARGE.diskMiB);
  expect(large.availableMiB).toBeGreaterThan(0.8 * LARGE.diskMiB);
  await expectWritten(vm, small.availableMiB + BEYOND_MIB);
}

/** A guest of `mini` on the disk without partitions, in the catalog of the tests. */
async function buildWhole(name: string, { kernel, initrd, root }: ImageParts, mountPoint = "/"): Promise<void> {
  const { guest } = recipeNamed("mini");
  const growth = { maxCpus: 1, maxMemoryMiB: guest.memoryMiB, disk: { ...WHOLE_DISK, mountPoint } };
  const recipe: Recipe = {
    guest: { ...guest, recipe: name, growth },
    inputsKey: async () => "0123456789abcdef",
    async make(made) {
      await copyFile(kernel, made.kernel);
      await copyFile(initrd, made.initrd);
      await copyFile((await miniFiles()).helper, made.helper);
      await asQcow2(root, made.disk);
    },
  };
  await buildSubstrate(name, recipe, {
    paths: new Paths(labDirectories()),
    qemu: await identifyQemu(),
    logger: silentLogger,
    progress: () => {},
    signal: undefined,
    reuse: false,
    accelerator: undefined,
  });
}

describe.each(OTHER_FILE_SYSTEMS)("a root that is %s", (kind) => {
  test(
    "grows with its partition, the last of a disk of the user's own, under a kernel that knows vmgenid",
    async () => {
      const own = join(dir, `of-${kind}`);
      await mkdir(own);
      await assembleImage(own, parts[kind], kind === "xfs" ? "gpt" : "mbr");
      const recipeFile = join(own, `cut-${kind}.yaml`);
      await writeFile(recipeFile, `from: disk\nimage: disk.raw\nformat: raw\nfirmware: bios\n${GUEST}`);
      await using lab = await openLab();
      await lab.pool.build({ recipeFile });
      await expectGrows(lab.pool, `cut-${kind}`, kind);
      for (const vm of lab.pool.vms) await expectReseeded(vm);
    },
    TIMEOUT_MS,
  );

  test(
    "grows with the disk that it is on",
    async () => {
      await using lab = await openLab();
      await buildWhole(`whole-${kind}`, parts[kind]);
      await expectGrows(lab.pool, `whole-${kind}`, kind);
      // Of which its log and its tables are a large part.
      expect((await activateOne(lab.pool, { substrate: `whole-${kind}`, resources: LITTLE })).resources).toMatchObject(
        LITTLE,
      );
    },
    TIMEOUT_MS,
  );
});

test("a file system that does not grow is refused when its guest is built", { timeout: TIMEOUT_MS }, async () => {
  await using lab = await openLab();
  await expect(buildWhole("unlike", parts.xfs, "/run")).rejects.toMatchObject({
    code: "BUILD_FAILED",
    message: expect.stringMatching(/growth\.disk .*vda.*ENOTTY.*ext4, xfs and btrfs/),
  });
  expect((await lab.pool.substrates()).map(({ name }) => name)).not.toContain("unlike");
});
