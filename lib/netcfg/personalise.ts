import { VmSubstrateError } from "../core/index.ts";
import type { HelperChannel, RequestOptions } from "./helper-channel.ts";
import type { HelperAnswer, HelperOperation } from "./helper-protocol.ts";
import type { Identity } from "./identity.ts";

/** Beyond this the clock is set once more: the first request runs on cold code and may take tens of milliseconds. */
const CLOCK_RESET_MS = 20;
export const CLOCK_TOLERANCE_MS = 100;

export interface PersonaliseTarget {
  /** The NIC's name in the guest. */
  readonly interface: string;
  readonly sshHostKey: { readonly path: string; readonly format: "dropbear" };
}

/**
 * Gives a running guest its identity and checks, from what the guest then reads back, that it has it. The link is down
 * meanwhile. Whatever the guest says is only believed when it equals what was asked for; the MAC is checked from outside
 * as well, by the caller.
 *
 * @throws VmSubstrateError IDENTITY_UNVERIFIED, GUEST_HELPER_FAILED, TIMEOUT, ABORTED
 */
export async function personalise(
  channel: HelperChannel,
  identity: Identity,
  target: PersonaliseTarget,
  options: RequestOptions,
): Promise<void> {
  const operations = identityOperations(identity, target);
  const answer = await channel.request(operations, options);
  const answeredAtMs = Date.now();
  verifyIdentity(identity, target, operations, answer);
  const offsetMs = Math.abs(clockMs(operations, answer) - answeredAtMs);
  if (offsetMs > CLOCK_RESET_MS) await setClock(channel, options);
}

/** Sets the guest's clock alone. */
async function setClock(channel: HelperChannel, options: RequestOptions): Promise<void> {
  const operations = [setClockNow()];
  const answer = await channel.request(operations, options);
  const offsetMs = Math.abs(clockMs(operations, answer) - Date.now());
  if (offsetMs <= CLOCK_TOLERANCE_MS) return;
  throw unverified("clock", `within ${CLOCK_TOLERANCE_MS} ms`, `${Math.round(offsetMs)} ms off`);
}

/** Waits until the guest sees its link, so that what it sends next is not lost. */
export async function awaitCarrier(channel: HelperChannel, nic: string, options: RequestOptions): Promise<void> {
  const [answer] = await channel.request([{ name: "carrier", value: `${nic},${options.timeoutMs}` }], {
    ...options,
    timeoutMs: options.timeoutMs * 2, // the guest's own wait, and the way there and back
  });
  if (answer !== `${nic},1`) throw unverified("link", `${nic},1`, answer ?? "");
}

function identityOperations(identity: Identity, target: PersonaliseTarget): HelperOperation[] {
  const { hostname, address, mac, prefixLength, machineId, sshHostKey, entropy } = identity;
  return [
    setClockNow(), // first, because it is out of date from here on
    { name: "entropy", value: entropy.toString("base64") },
    { name: "hostname", value: hostname },
    { name: "mac", value: `${target.interface},${mac}` },
    { name: "ipv4", value: `${target.interface},${address},${prefixLength}` },
    file("/etc/hostname", 0o644, `${hostname}\n`),
    file("/etc/hosts", 0o644, `127.0.0.1 localhost\n${address} ${hostname}\n`),
    file("/etc/machine-id", 0o444, `${machineId}\n`),
    file(target.sshHostKey.path, 0o600, sshHostKey.dropbearFile),
    { name: "clock", value: "" },
  ];
}

function verifyIdentity(
  identity: Identity,
  target: PersonaliseTarget,
  operations: readonly HelperOperation[],
  answer: HelperAnswer,
): void {
  const expected = new Map([
    ["hostname", identity.hostname],
    ["mac", `${target.interface},${identity.mac}`],
    ["ipv4", `${target.interface},${identity.address},${identity.prefixLength}`],
    ["entropy", String(identity.entropy.length)],
  ]);
  for (const [i, { name, value }] of operations.entries()) {
    const wanted = name === "file" ? writtenFile(value) : expected.get(name);
    if (wanted !== undefined && answer[i] !== wanted) throw unverified(name, wanted, answer[i] ?? "");
  }
}

/** What the helper answers to a `file` operation that it did: path and length. */
function writtenFile(value: string): string {
  const [path, , content = ""] = value.split(",");
  return `${path},${Buffer.byteLength(content, "base64")}`;
}

function setClockNow(): HelperOperation {
  const now = Date.now();
  const seconds = Math.floor(now / 1000);
  return { name: "clock", value: `${seconds}.${String((now % 1000) * 1_000_000).padStart(9, "0")}` };
}

/** The guest's last reading of its clock, in milliseconds after the epoch. */
function clockMs(operations: readonly HelperOperation[], answer: HelperAnswer): number {
  const value = answer[operations.findLastIndex(({ name }) => name === "clock")] ?? "";
  const match = /^(\d{1,12})\.(\d{9})$/.exec(value);
  if (match === null) throw unverified("clock", "seconds.nanoseconds", value);
  return Number(match[1]) * 1000 + Number(match[2]) / 1_000_000;
}

function file(path: string, mode: number, content: string | Uint8Array): HelperOperation {
  return { name: "file", value: `${path},${mode.toString(8)},${Buffer.from(content).toString("base64")}` };
}

function unverified(part: string, expected: string, got: string): VmSubstrateError {
  const shown = got.slice(0, 100);
  return new VmSubstrateError("IDENTITY_UNVERIFIED", `the guest's ${part} is "${shown}", expected "${expected}"`, {
    details: { part, expected, got: shown },
  });
}
