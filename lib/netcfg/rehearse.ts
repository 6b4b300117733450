import type { HelperChannel, RequestOptions } from "./helper-channel.ts";
import { fileOperation, type HelperOperation } from "./helper-protocol.ts";
import { IDENTITY_PARTS, newIdentity, type PersonaliseTarget } from "./identity/index.ts";

/** Addresses that nobody has: RFC 5737, RFC 3849; a locally administered MAC address. */
const NOBODY = { hostname: "localhost", mac: "02:00:00:00:00:00", address: "192.0.2.1", address6: "2001:db8::1" };
const NOBODYS_PREFIXES = { prefixLength: 24, prefixLength6: 64 };

/**
 * Gives a guest an identity of nobody's, by the parts' own operations, reads it back, and takes it away: afterwards the
 * guest's files of an identity are there and empty, it has no address, and the MAC address that it had before. In a
 * guest about to be frozen all code that a clone will run first is then in memory, and nothing of it has to be read from
 * the disk.
 *
 * @throws VmSubstrateError GUEST_HELPER_FAILED, TIMEOUT, ABORTED
 */
export async function rehearseIdentity(
  channel: HelperChannel,
  target: PersonaliseTarget,
  options: RequestOptions,
): Promise<void> {
  const { interface: nic, identity: profile } = target;
  const nobody = newIdentity(NOBODY, NOBODYS_PREFIXES);
  const [mac = ""] = await channel.request([{ name: "mac", value: nic }], options);
  const setting = IDENTITY_PARTS.flatMap((part) => part.set(nobody, target));
  await channel.request(setting, options);
  await channel.request(
    IDENTITY_PARTS.flatMap((part) => part.read(nobody, target)),
    options,
  );
  const undoing: HelperOperation[] = [
    { name: "mac", value: mac },
    { name: "ipv4", value: `${nic},none` },
    ...(profile.ipv6 ? ([{ name: "ipv6", value: `${nic},none` }] as const) : []),
    ...setting.filter(({ name }) => name === "file").map(emptied),
  ];
  await channel.request(undoing, options);
}

/** Where a guest keeps the files of an identity. */
export function identityFiles(target: PersonaliseTarget): string[] {
  return fileReads(target).map(({ value }) => value);
}

/** Those of them that hold something, which in a substrate none may. */
export async function identityFilesLeft(
  channel: HelperChannel,
  target: PersonaliseTarget,
  options: RequestOptions,
): Promise<string[]> {
  const reading = fileReads(target);
  const answer = await channel.request(reading, options);
  return reading.map(({ value }) => value).filter((path, i) => answer[i] !== `${path},`);
}

function fileReads(target: PersonaliseTarget): HelperOperation[] {
  const nobody = newIdentity(NOBODY, NOBODYS_PREFIXES);
  return IDENTITY_PARTS.flatMap((part) => part.read(nobody, target)).filter(({ name }) => name === "read");
}

function emptied({ value }: HelperOperation): HelperOperation {
  const [path = "", mode = ""] = value.split(",");
  return fileOperation(path, Number.parseInt(mode, 8), "");
}
