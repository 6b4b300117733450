import { createHash } from "node:crypto";
import type { Manifest } from "../../lib/substrate/index.ts";
import { type TestEntry, testEntry } from "./archives.ts";

const MIB = 2 ** 20;
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** What somebody made of an archive's entries. */
export type Tampering = (entries: TestEntry[]) => TestEntry[] | Promise<TestEntry[]>;

export const withManifest =
  (change: (manifest: Manifest) => unknown): Tampering =>
  ([first, ...others]) => [
    testEntry("manifest.json", JSON.stringify(change(JSON.parse(String(first?.content))))),
    ...others,
  ];
const changed =
  (name: string, change: (content: Buffer) => Buffer): Tampering =>
  (entries) =>
    entries.map((one) => (one.header.name === name ? { ...one, content: change(one.content) } : one));
/** A file in place of another, with a manifest that agrees. */
export const replaced =
  (name: string, file: keyof Manifest["files"], content: Buffer): Tampering =>
  async (entries) => {
    const files = (manifest: Manifest) => ({
      ...manifest,
      files: { ...manifest.files, [file]: { sha256: sha256(content), sizeBytes: content.length } },
    });
    return changed(name, () => content)(await withManifest(files)(entries));
  };
const flipped = (content: Buffer) => {
  const copy = Buffer.from(content);
  copy[copy.length >> 1] = (copy[copy.length >> 1] ?? 0) ^ 1;
  return copy;
};

/** Of an archive as `addFakeSubstrate` gives it: each one must be refused. */
export const TAMPERINGS: Readonly<Record<string, Tampering>> = {
  "no entries": () => [],
  "an entry more": (entries) => [...entries, testEntry("more", "x")],
  "an empty entry more": (entries) => [...entries, testEntry("more")],
  "a name with ../": (entries) => [entries[0] as TestEntry, testEntry("../x", "x"), ...entries.slice(1)],
  "an absolute name": (entries) => [entries[0] as TestEntry, testEntry("/etc/cron.d/x", "x"), ...entries.slice(1)],
  "a file twice": (entries) => [...entries.slice(0, 2), ...entries.slice(1)],
  "the last file twice": (entries) => [...entries, entries.at(-1) as TestEntry],
  "the manifest twice": (entries) => [entries[0] as TestEntry, ...entries],
  "files in another order": ([manifest, a, b, ...rest]) => [manifest, b, a, ...rest] as TestEntry[],
  "no manifest": (entries) => entries.slice(1),
  "a manifest that is no JSON": ([, ...rest]) => [testEntry("manifest.json", "{"), ...rest],
  "a manifest of 2 MiB": ([, ...rest]) => [testEntry("manifest.json", Buffer.alloc(2 * MIB, " ")), ...rest],
  "a manifest of another format": withManifest((manifest) => ({ ...manifest, formatVersion: 99 })),
  "an unknown field in its manifest": withManifest((manifest) => ({ ...manifest, more: 1 })),
  "a name that is a path in its manifest": withManifest((manifest) => ({ ...manifest, name: "../../x" })),
  "a huge RAM in its manifest": withManifest((manifest) => ({
    ...manifest,
    files: { ...manifest.files, ram: { ...manifest.files.ram, sizeBytes: Number.MAX_SAFE_INTEGER } },
  })),
  "a huge helper in its manifest": withManifest((manifest) => ({
    ...manifest,
    files: { ...manifest.files, helper: { ...manifest.files.helper, sizeBytes: 65 * MIB } },
  })),
  "RAM of another size than its guest's": withManifest((manifest) => ({
    ...manifest,
    guest: { ...manifest.guest, memoryMiB: 2 },
  })),
  "RAM that holds more than it says": withManifest((manifest) => ({
    ...manifest,
    memory: { ...manifest.memory, residentBytes: 4096 },
  })),
  "a wrong digest in its manifest": withManifest((manifest) => ({
    ...manifest,
    files: { ...manifest.files, state: { ...manifest.files.state, sha256: "0".repeat(64) } },
  })),
  "a disk of another size": withManifest((manifest) => ({ ...manifest, diskSizeBytes: 4096 })),
  "a disk that is none": replaced("disk.qcow2", "disk", Buffer.alloc(4096)),
  ...Object.fromEntries(
    ["state", "helper", "disk.qcow2", "ram"].flatMap((name): [string, Tampering][] => [
      [`a flipped bit in ${name}`, changed(name, flipped)],
      [`${name} cut short`, changed(name, (content) => content.subarray(0, -1))],
      [`a byte more in ${name}`, changed(name, (content) => Buffer.concat([content, Buffer.of(0)]))],
      [`an empty ${name}`, changed(name, () => Buffer.alloc(0))],
      [`no ${name}`, (entries) => entries.filter(({ header }) => header.name !== name)],
    ]),
  ),
  ...Object.fromEntries(
    (["symlink", "link", "directory", "fifo", "character-device", "block-device", "contiguous-file"] as const).map(
      (type): [string, Tampering] => [
        `a ${type} in place of its RAM`,
        (entries) => [
          ...entries.slice(0, -1),
          testEntry("ram", "", { type, ...(type.endsWith("link") ? { linkname: "/etc/passwd" } : {}) }),
        ],
      ],
    ),
  ),
};
