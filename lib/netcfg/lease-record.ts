import { z } from "zod";
import { messageOf, VmSubstrateError } from "../core/index.ts";
import { isHostname } from "./hostname.ts";
import { canonicalAddress } from "./ip-address.ts";
import { isUnicastMac } from "./mac.ts";

export type LeaseKind = "hostname" | "mac" | "address";

/** The values of one VM's identity that no other VM may have at the same time. */
export interface LeasedValues {
  readonly hostname: string;
  readonly mac: string;
  /** IPv4. */
  readonly address: string;
  /** IPv6. */
  readonly address6?: string | undefined;
}

/** All leases' keys begin with it: "leases/hostname/node-0", "leases/address/fd77::1". */
export const LEASES_PREFIX = "leases/";

const recordSchema = z.strictObject({
  /** Of a quarantined address: who had it last. */
  owner: z.string().min(1),
  state: z.enum(["held", "quarantined"]),
});

/** What the store keeps of one value. */
export type LeaseRecord = Readonly<z.infer<typeof recordSchema>>;

const IS_VALUE: Readonly<Record<LeaseKind, (text: string) => boolean>> = {
  hostname: isHostname,
  mac: isUnicastMac,
  address: (text) => canonicalAddress(text) === text,
};

export function leaseKey(kind: LeaseKind, value: string): string {
  return `${LEASES_PREFIX}${kind}/${value}`;
}

export function leaseKeysOf(values: LeasedValues): string[] {
  const { hostname, mac, address, address6 } = values;
  const keys = [leaseKey("hostname", hostname), leaseKey("mac", mac), leaseKey("address", address)];
  return address6 === undefined ? keys : [...keys, leaseKey("address", address6)];
}

/** The kind and value of a key that `leaseKey` made. */
export function leaseOf(key: string): { readonly kind: LeaseKind; readonly value: string } {
  const slash = key.indexOf("/", LEASES_PREFIX.length);
  return { kind: key.slice(LEASES_PREFIX.length, slash) as LeaseKind, value: key.slice(slash + 1) };
}

/** Whether only one of `keys` has the kind, and for addresses the family, of each. Undefined when they are no whole identity. */
export function valuesOfKeys(keys: Iterable<string>): LeasedValues | undefined {
  const values: { -readonly [Key in keyof LeasedValues]?: string } = {};
  for (const key of keys) {
    const { kind, value } = leaseOf(key);
    const name = kind === "address" && value.includes(":") ? "address6" : kind;
    if (values[name] !== undefined) return undefined;
    values[name] = value;
  }
  const { hostname, mac, address, address6 } = values;
  if (hostname === undefined || mac === undefined || address === undefined) return undefined;
  return { hostname, mac, address, address6 };
}

/** @throws VmSubstrateError STATE_DIR_DAMAGED */
export function parseLease(key: string, text: string): LeaseRecord {
  try {
    const { kind, value } = leaseOf(key);
    const isValue = Object.hasOwn(IS_VALUE, kind) && key === leaseKey(kind, value) && IS_VALUE[kind](value);
    if (!isValue) throw new Error("its key names no hostname, MAC or address");
    const record = recordSchema.parse(JSON.parse(text));
    if (record.state === "quarantined" && kind !== "address") throw new Error("only addresses are quarantined");
    return record;
  } catch (cause) {
    const problem = cause instanceof z.ZodError ? z.prettifyError(cause) : messageOf(cause);
    throw damagedLease(`the store's ${key} cannot be read: ${problem}`, cause);
  }
}

export function damagedLease(message: string, cause?: unknown): VmSubstrateError {
  return new VmSubstrateError("STATE_DIR_DAMAGED", message, { cause });
}
