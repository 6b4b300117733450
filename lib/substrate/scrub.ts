import { messageOf, throwIfAborted } from "../core/index.ts";
import { filesOf, type SubstrateFile } from "./archive-format.ts";
import type { Catalog, Substrate, SubstrateVersion } from "./catalog.ts";
import type { FileDigest } from "./manifest.ts";
import type { Pace } from "./pace.ts";
import { digestFile } from "./sparse-file.ts";

/** A file of a substrate that is not as it was frozen. */
export interface Damage {
  readonly file: string;
  readonly reason: string;
}

export interface ScrubbedSubstrate extends SubstrateVersion {
  readonly state: "ok" | "damaged";
  /** Every damaged file; empty for one that is `ok`. */
  readonly damage: readonly Damage[];
  /** What was read of it. */
  readonly bytes: number;
}

/**
 * Digests every file of a version anew. What is wrong with it is in the result.
 * @throws VmSubstrateError ABORTED
 */
export async function scrub(
  { name, version }: SubstrateVersion,
  catalog: Catalog,
  { pace, signal }: { readonly pace: Pace; readonly signal: AbortSignal | undefined },
): Promise<ScrubbedSubstrate> {
  const substrate = await catalog.read(name, version).catch(messageOf);
  if (typeof substrate === "string") {
    const file = catalog.pathsOf(name, version).manifest;
    return { name, version, state: "damaged", damage: [{ file, reason: substrate }], bytes: 0 };
  }
  let bytes = 0;
  const spend = async (more: number) => {
    bytes += more;
    await pace.spend(more, signal);
  };
  const damage: Damage[] = [];
  for (const [file, digest] of filesOf(substrate.manifest)) {
    const reason = await problemOf(substrate, file, digest, spend, signal);
    if (reason !== undefined) damage.push({ file: substrate.paths[file], reason });
  }
  return { name, version, state: damage.length === 0 ? "ok" : "damaged", damage, bytes };
}

async function problemOf(
  { paths }: Substrate,
  file: SubstrateFile,
  expected: FileDigest,
  spend: (bytes: number) => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  throwIfAborted(signal, "scrubSubstrates");
  const found = await digestFile(paths[file], signal, spend).catch((error: unknown) => {
    throwIfAborted(signal, "scrubSubstrates");
    return messageOf(error);
  });
  return typeof found === "string" ? `cannot be read: ${found}` : difference(found, expected);
}

function difference(found: FileDigest, expected: FileDigest): string | undefined {
  if (found.sizeBytes !== expected.sizeBytes) return `${found.sizeBytes} bytes, expected ${expected.sizeBytes}`;
  return found.sha256 === expected.sha256 ? undefined : `SHA-256 ${found.sha256}, expected ${expected.sha256}`;
}
