import { z } from "zod";
import { DISK_FORMATS } from "../../../host/index.ts";
import { identityProfileSchema } from "../../../netcfg/index.ts";
import { probeSchema } from "../../ready/index.ts";
import {
  guestPattern,
  MAX_CPUS,
  MAX_DISK_MIB,
  MAX_ITEMS,
  MAX_MEMORY_MIB,
  MIN_MEMORY_MIB,
  substrateName,
} from "../debian/document.ts";

const DEFAULT_BOOT_TIMEOUT_MS = 300_000;
const MAX_BOOT_TIMEOUT_MS = 3_600_000;
const MAX_PATH_CHARS = 4096;
/** OVMF ends with less before it has started anything. */
const MIN_UEFI_MEMORY_MIB = 256;
/** Of a GPT as it is made everywhere. */
const MAX_PARTITIONS = 128;

const { hostname, hosts, machineId, dbusMachineId, sshHostKey, authorizedKeys, randomSeed, dhclientLeases } =
  identityProfileSchema.shape;

/** Which files a guest has; `null` says that it has none. The defaults are those of a Linux with systemd and OpenSSH. */
const identitySchema = z.strictObject({
  ipv6: z.boolean().default(true),
  vmGenerationId: z.boolean().default(false),
  hostname: hostname.nullable().default("/etc/hostname"),
  hosts: hosts.nullable().default("/etc/hosts"),
  machineId: machineId.nullable().default("/etc/machine-id"),
  dbusMachineId: dbusMachineId.nullable(),
  sshHostKey: sshHostKey.nullable().default({ path: "/etc/ssh/ssh_host_ed25519_key", format: "openssh" }),
  authorizedKeys: authorizedKeys.nullable().default("/root/.ssh/authorized_keys"),
  randomSeed: randomSeed.nullable().default("/var/lib/systemd/random-seed"),
  dhclientLeases: dhclientLeases.nullable(),
});

/** How far clones can grow when they are claimed; what is left out stays as it was frozen. */
const growthSchema = z.strictObject({
  maxCpus: z.int().min(1).max(MAX_CPUS).optional(),
  maxMemoryMiB: z.int().min(MIN_MEMORY_MIB).max(MAX_MEMORY_MIB).optional(),
  disk: z
    .strictObject({
      maxDiskMiB: z.int().min(1).max(MAX_DISK_MIB),
      /** The number of the partition that the root file system is on, the last of the disk. Without it that is on the disk itself. */
      partition: z.int().min(1).max(MAX_PARTITIONS).optional(),
    })
    .optional(),
});

/** What a recipe file says of a guest whose disk somebody made already. Unknown keys are refused. */
const documentSchema = z.strictObject({
  from: z.literal("disk"),
  /** The substrate's name. Default: the file's. */
  name: substrateName.optional(),
  /** An image beside the recipe or below, or an absolute path. */
  image: z
    .string()
    .min(1)
    .max(MAX_PATH_CHARS)
    .regex(/^[^\p{Cc}]*$/u, "expected a path without control characters"),
  /** Never found out from the image: its guest could have written into it whatever it liked. */
  format: z.enum(DISK_FORMATS),
  firmware: z.enum(["bios", "uefi"]),
  memoryMiB: z.int().min(MIN_MEMORY_MIB).max(MAX_MEMORY_MIB).default(512),
  cpus: z.int().min(1).max(MAX_CPUS).default(1),
  growth: growthSchema.optional(),
  /** For its boot until the guest agent answers, and for each probe that has no deadline of its own. */
  bootTimeoutMs: z.int().min(1).max(MAX_BOOT_TIMEOUT_MS).default(DEFAULT_BOOT_TIMEOUT_MS),
  /** The NIC's name in the guest. */
  interface: z
    .string()
    .regex(/^[a-z][a-z0-9]{0,14}$/, "expected a NIC's name, e.g. eth0")
    .default("eth0"),
  /** Whether our resident helper is in the image and started by it. Without it the guest agent carries it in. */
  helper: z.boolean().default(false),
  /** Whether the image's cloud-init is to run, once, before the guest is frozen. */
  cloudInit: z.boolean().default(false),
  /** What must be true before the guest is frozen, in order, after the agent answers. */
  ready: z
    .array(probeSchema)
    .max(MAX_ITEMS)
    .default([{ probe: "system" }]),
  /** Files that generalizing would remove, and that are to stay. */
  keep: z.array(guestPattern).max(MAX_ITEMS).default([]),
  identity: identitySchema.prefault({}),
});

export const diskDocumentSchema = documentSchema
  .refine(({ firmware, memoryMiB }) => firmware !== "uefi" || memoryMiB >= MIN_UEFI_MEMORY_MIB, {
    path: ["memoryMiB"],
    message: `expected at least ${MIN_UEFI_MEMORY_MIB} for UEFI, whose firmware needs that much itself`,
  })
  .refine(({ cpus, growth }) => (growth?.maxCpus ?? cpus) >= cpus, {
    path: ["growth", "maxCpus"],
    message: "expected at least as many as cpus",
  })
  .refine(({ memoryMiB, growth }) => (growth?.maxMemoryMiB ?? memoryMiB) >= memoryMiB, {
    path: ["growth", "maxMemoryMiB"],
    message: "expected at least as much as memoryMiB",
  });

export type DiskDocument = z.output<typeof diskDocumentSchema>;
