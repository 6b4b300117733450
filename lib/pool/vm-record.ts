import { z } from "zod";
import {
  PHASES as ACTIVATION_PHASES,
  addedMemoryMiB,
  CHANNELS,
  frozenResources,
  type Growth,
  VM_ORIGINS,
} from "../clone/index.ts";
import { messageOf, VmSubstrateError } from "../core/index.ts";
import { FABRICS } from "../netcfg/index.ts";
import type { Manifest } from "../substrate/index.ts";
import { ON_EXPIRY } from "./lifetime.ts";

/**
 * How far a clone has come, as its owner has made it durable before each step. What recovery does for each is in
 * recovery.ts, in one exhaustive switch.
 */
const VM_PHASES = [
  /** It may have folders, a process, leases; nobody has it. */
  "launching",
  /** It waits in a dock. */
  "docked",
  /** It is being made into somebody's VM; nobody has it yet. */
  "claiming",
  /** It was handed out. */
  "running",
  /** It was handed out, and paused. */
  "parked",
  /** It is being ended, by whoever had it. */
  "releasing",
] as const;

const identitySchema = z.strictObject({
  hostname: z.string(),
  mac: z.string(),
  address: z.string(),
  prefixLength: z.int(),
  address6: z.string().optional(),
  prefixLength6: z.int().optional(),
  machineId: z.string(),
  /** The public half; the private one is in the guest alone. */
  sshHostKey: z.string(),
});

const lifetimeSchema = z.strictObject({
  onExpiry: z.enum(ON_EXPIRY),
  /** CLOCK_MONOTONIC of the boot that `bootId` names; the wall clock may be set at any time. */
  expiresAtMs: z.number().optional(),
  endsAtMs: z.number().optional(),
});

const resourcesSchema = z.strictObject({
  cpus: z.int(),
  memoryMiB: z.int(),
  diskMiB: z.number(),
  /** What of its memory is its own and not its substrate's file: all of it may come to be used. */
  addedMemoryMiB: z.int(),
});

const recordSchema = z.strictObject({
  id: z.string(),
  uuid: z.string(),
  phase: z.enum(VM_PHASES),
  /** Of this machine; none of our processes outlives it. */
  bootId: z.string(),
  process: z.strictObject({ pid: z.int(), startTime: z.int() }).optional(),
  substrate: z.strictObject({ name: z.string(), version: z.int() }),
  resources: resourcesSchema,
  channel: z.enum(CHANNELS),
  /** Where in the guest its identity is: the name of its NIC, and whether that has IPv6. */
  target: z.strictObject({ interface: z.string(), identity: z.strictObject({ ipv6: z.boolean() }) }),
  fabric: z.enum(FABRICS),
  origin: z.enum(VM_ORIGINS),
  createdAt: z.iso.datetime(),
  identity: identitySchema.optional(),
  labels: z.record(z.string(), z.string()),
  env: z.record(z.string(), z.string()),
  lifetime: lifetimeSchema,
  /** Of a VM that was forked, or is a fork: what is under its disk, the newest first. */
  instants: z.array(z.string()).optional(),
  timings: z
    .strictObject({ phasesMs: z.record(z.enum(ACTIVATION_PHASES), z.number()), totalMs: z.number() })
    .optional(),
});

/** What of a guest's profile a later owner must know. */
export function recordedTarget({ guest }: Manifest): VmRecord["target"] {
  return { interface: guest.interface, identity: { ipv6: guest.identity.ipv6 } };
}

/** What a clone has, and how much of it was added. */
export function recordedResources(manifest: Manifest, growth?: Growth): VmRecord["resources"] {
  if (growth === undefined) return { ...frozenResources(manifest), addedMemoryMiB: 0 };
  return { ...growth.resources, addedMemoryMiB: addedMemoryMiB(growth) };
}

/** All that a later owner must know of a clone to take it over, or to take it away. No secrets. */
export type VmRecord = Readonly<z.infer<typeof recordSchema>>;

const PREFIX = "vms/";

export function recordKey(id: string): string {
  return `${PREFIX}${id}`;
}

export const RECORDS_PREFIX = PREFIX;

/** @throws VmSubstrateError STATE_DIR_DAMAGED */
export function parseRecord(key: string, text: string): VmRecord {
  try {
    return recordSchema.parse(JSON.parse(text));
  } catch (cause) {
    const problem = cause instanceof z.ZodError ? z.prettifyError(cause) : messageOf(cause);
    throw new VmSubstrateError("STATE_DIR_DAMAGED", `the store's ${key} cannot be read: ${problem}`, { cause });
  }
}
