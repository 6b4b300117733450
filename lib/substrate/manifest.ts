import { z } from "zod";
import { messageOf, VmSubstrateError } from "../core/index.ts";
import { ACCELERATORS } from "../host/index.ts";
import { identityProfileSchema } from "../netcfg/index.ts";
import { bootFilesFit } from "./boot-files.ts";
import { probeSchema } from "./ready/index.ts";

/**
 * 3: `guest.growth`, more probes of readiness, files that generalizing keeps and what it took out, kernel and initramfs. 2:
 * `guest.identity` names the parts of an identity; before there was a host key's path alone.
 */
export const FORMAT_VERSION = 3;

const fileSchema = z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/), sizeBytes: z.int().nonnegative() });

/** From when there was one file system that grew. */
const FORMER_DISK_KINDS: ReadonlyMap<unknown, string> = new Map([
  ["ext4", "disk"],
  ["ext4-partition", "partition"],
]);

const growthSchema = z.strictObject({
  maxCpus: z.int().positive(),
  maxMemoryMiB: z.int().positive(),
  timerHz: z.int().positive().optional(),
  disk: z
    .strictObject({
      kind: z.preprocess((kind) => FORMER_DISK_KINDS.get(kind) ?? kind, z.enum(["disk", "partition"])),
      mountPoint: z.string().regex(/^\/[\w./-]*$/),
      device: z.string().regex(/^[a-z][a-z0-9]{0,14}$/),
      maxDiskMiB: z.int().positive(),
    })
    .optional(),
});

const guestSchema = z.strictObject({
  recipe: z.string(),
  memoryMiB: z.int().positive(),
  cpus: z.int().positive(),
  growth: growthSchema.optional(),
  firmware: z.enum(["bios", "uefi"]).optional(),
  kernelCommandLine: z.string(),
  interface: z.string().regex(/^[a-z][a-z0-9]{0,14}$/),
  helper: z.boolean(),
  ready: z.array(probeSchema),
  generalize: z.strictObject({ remove: z.array(z.string()), truncate: z.array(z.string()), keep: z.array(z.string()) }),
  identity: identityProfileSchema,
});

const manifestSchema = z
  .strictObject({
    formatVersion: z.literal(FORMAT_VERSION),
    name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,40}$/),
    version: z.int().positive(),
    createdAt: z.iso.datetime(),
    /** Changes with everything that the substrate was made of: the recipe's inputs, QEMU, machine, accelerator. */
    inputsKey: z.string(),
    qemu: z.strictObject({ version: z.string(), build: z.string() }),
    machine: z.string(),
    accelerator: z.enum(ACCELERATORS),
    cpuModel: z.string(),
    /** QEMU's device arguments in order; a clone must present the same. */
    devices: z.array(z.string()),
    guest: guestSchema,
    memory: z.strictObject({
      assignedBytes: z.int().nonnegative(),
      /** What the guest had in use, by its own account. */
      usedBytes: z.int().nonnegative(),
      /** What the RAM file really holds: its pages that are not zero. */
      residentBytes: z.int().nonnegative(),
    }),
    /** Programs that a clone has to run once it has its identity: services that remember another. */
    tell: z.array(z.array(z.string()).min(1)),
    /** What was taken out of the guest before it was frozen. */
    generalized: z.array(
      z.strictObject({ trace: z.string(), why: z.string(), files: z.int().positive(), paths: z.array(z.string()) }),
    ),
    /** Virtual size of the disk. */
    diskSizeBytes: z.int().positive(),
    files: z.strictObject({
      ram: fileSchema,
      state: fileSchema,
      disk: fileSchema,
      helper: fileSchema,
      /** Those that the guest was booted by. */
      kernel: fileSchema.optional(),
      initrd: fileSchema.optional(),
      firmwareCode: fileSchema.optional(),
      firmwareVars: fileSchema.optional(),
    }),
  })
  .refine(({ guest, files }) => bootFilesFit(guest, files), "its files are not those that its guest boots by");

/** What a substrate is, and the digests of its files. Written last, so a substrate without one does not exist. */
export type Manifest = z.infer<typeof manifestSchema>;
export type FileDigest = Manifest["files"]["ram"];

/** @throws VmSubstrateError SUBSTRATE_CORRUPT naming the field */
export function parseManifest(text: string, where: string): Manifest {
  try {
    return manifestSchema.parse(JSON.parse(text));
  } catch (cause) {
    const problem = cause instanceof z.ZodError ? z.prettifyError(cause) : messageOf(cause);
    throw new VmSubstrateError("SUBSTRATE_CORRUPT", `${where} is not a manifest of this version: ${problem}`, {
      cause,
      details: { where },
    });
  }
}

export function serializeManifest(manifest: Omit<Manifest, "formatVersion">): string {
  return `${JSON.stringify({ formatVersion: FORMAT_VERSION, ...manifest }, null, 2)}\n`;
}
