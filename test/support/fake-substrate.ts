import { chmod, mkdir, open, rm, writeFile } from "node:fs/promises";
import { cpuModelFor, createOverlay, ensurePrivateDir, type Paths } from "../../lib/host/index.ts";
import type { GuestProfile, Manifest, Recipe } from "../../lib/substrate/index.ts";
import { deviceArguments, MACHINE_TYPE, machineConfig } from "../../lib/substrate/machine.ts";
import { FORMAT_VERSION, serializeManifest } from "../../lib/substrate/manifest.ts";
import { digestFile } from "../../lib/substrate/sparse-file.ts";
import { FAKE_QEMU } from "./fake-qemu-control.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const FAKE_DISK_BYTES = 8 * MIB;

/** The `mini` guest in small: what the fake QEMU plays. */
export const FAKE_GUEST: GuestProfile = {
  recipe: "mini",
  memoryMiB: 1,
  cpus: 1,
  growth: {
    maxCpus: 4,
    maxMemoryMiB: 1025,
    disk: { kind: "disk", mountPoint: "/", device: "vda", maxDiskMiB: 4096 },
  },
  kernelCommandLine: "console=ttyS0",
  interface: "eth0",
  helper: true,
  ready: [{ probe: "helper" }, { probe: "agent" }, { probe: "port", port: 22 }],
  generalize: { remove: ["/root/.ssh/*"], truncate: [], keep: [] },
  identity: {
    ipv6: true,
    vmGenerationId: false,
    hostname: "/etc/hostname",
    hosts: "/etc/hosts",
    machineId: "/etc/machine-id",
    dbusMachineId: "/var/lib/dbus/machine-id",
    sshHostKey: { path: "/etc/dropbear/key", format: "dropbear" },
    authorizedKeys: "/root/.ssh/authorized_keys",
    randomSeed: "/var/lib/random-seed",
    dhclientLeases: "/var/lib/dhcp/dhclient.leases",
  },
};

export interface FakeSubstrateOptions {
  readonly name?: string;
  readonly version?: number;
  readonly memoryMiB?: number;
  /** Fields of the manifest that are to differ from the truth. */
  readonly manifest?: Partial<Omit<Manifest, "formatVersion">>;
}

/** A substrate in the catalog with tiny files and a right manifest, as `buildSubstrate` leaves it. */
export async function addFakeSubstrate(paths: Paths, options: FakeSubstrateOptions = {}): Promise<Manifest> {
  const { name = "fake", version = 1, memoryMiB = FAKE_GUEST.memoryMiB } = options;
  const guest = { ...FAKE_GUEST, memoryMiB };
  const files = paths.substrate(name, version);
  await mkdir(files.dir, { recursive: true, mode: 0o700 });
  const ram = Buffer.alloc(memoryMiB * MIB);
  ram.fill("page", 16 * KIB, 32 * KIB);
  await writeFile(files.ram, ram, { mode: 0o400 });
  await writeFile(files.state, "QEVM fake device state\n", { mode: 0o400 });
  await writeFile(files.helper, "\x7fELF fake helper\n", { mode: 0o400 });
  for (const file of [files.kernel, files.initrd]) await writeFile(file, "fake\n", { mode: 0o400 });
  await createDisk(files.disk);
  await chmod(files.disk, 0o400);
  const content: Omit<Manifest, "formatVersion"> = {
    name,
    version,
    createdAt: "2026-01-01T00:00:00.000Z",
    inputsKey: "0123456789abcdef",
    qemu: FAKE_QEMU,
    machine: MACHINE_TYPE,
    accelerator: "tcg",
    cpuModel: cpuModelFor("tcg"),
    devices: fakeDevices(paths),
    guest: structuredClone(guest) as Manifest["guest"],
    memory: { assignedBytes: ram.length, usedBytes: 25_000 * KIB, residentBytes: 16 * KIB },
    tell: [],
    generalized: [],
    diskSizeBytes: FAKE_DISK_BYTES,
    files: {
      ram: await digestFile(files.ram),
      state: await digestFile(files.state),
      disk: await digestFile(files.disk),
      helper: await digestFile(files.helper),
      kernel: await digestFile(files.kernel),
      initrd: await digestFile(files.initrd),
    },
    ...options.manifest,
  };
  await writeFile(files.manifest, serializeManifest(content), { mode: 0o400 });
  return { formatVersion: FORMAT_VERSION, ...content };
}

/** An empty qcow2 that stands alone, as those of recipes do. */
export async function createDisk(file: string): Promise<void> {
  await createOverlay(file, "/nonexistent/base.qcow2", FAKE_DISK_BYTES);
  await using handle = await open(file, "r+");
  await handle.write(Buffer.alloc(12), 0, 12, 8); // its backing file's place and length
}

/** Writes over a read-only file. */
export async function rewrite(file: string, content: string | Uint8Array): Promise<void> {
  await rm(file, { force: true });
  await writeFile(file, content, { mode: 0o400 });
}

function fakeDevices(paths: Paths): string[] {
  const config = machineConfig({
    id: "devices",
    uuid: "00000000-0000-0000-0000-000000000000",
    accelerator: "tcg",
    cpuModel: cpuModelFor("tcg"),
    guest: FAKE_GUEST,
    paths: paths.vm("devices"),
    ram: { file: "/ram", share: true },
    disk: { file: "/disk" },
  });
  return deviceArguments(config);
}

/** A recipe's files as `prepareGuest` keeps them, so that nothing is downloaded or made. */
export async function addFakeGuestFiles(paths: Paths, recipe: Recipe): Promise<void> {
  const files = paths.recipeCache(recipe.guest.recipe, await recipe.inputsKey());
  await ensurePrivateDir(paths.cacheDir);
  await mkdir(files.dir, { recursive: true });
  await createDisk(files.disk);
  for (const file of [files.kernel, files.initrd, files.helper]) await writeFile(file, "fake\n");
}
