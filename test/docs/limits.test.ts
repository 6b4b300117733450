import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const PAGE = readFileSync(join(ROOT, "docs/LIMITS.md"), "utf8");
const FOLDERS = ["lib", "api", "daemon", "client"];
const UNITS: Readonly<Record<string, number>> = { KIB: 1024, KiB: 1024, MIB: 1024 ** 2, MiB: 1024 ** 2, ms: 1, "": 1 };

/** A module's constant that is a number, also one written as a product, or with a sign before a power. */
const NUMBER_CONSTANT = /^(?:export )?const ([A-Z][A-Z0-9_]*)(?:: number)? = ([\d_]+(?:[ *\-\d_]|KIB|MIB)*);/gm;
/** What the name of a limit says, by this project's habit of units in names. */
const LIMIT_NAME = /^MAX_|_(MS|BYTES|CHARS|KIB|MIB|LENGTH|WANTED)$/;
/** Sizes that a file format or a kernel prescribes, or of a buffer: nothing is refused or ended at them. */
const NOT_LIMITS = [
  "daemon/tokens.ts TOKEN_BYTES",
  "lib/clone/session/frames.ts HEADER_BYTES",
  "lib/clone/session/input.ts PIECE_BYTES",
  "lib/host/disk-image.ts SECTOR_BYTES",
  "lib/host/qcow2.ts HEADER_BYTES",
  "lib/netcfg/identity/identity.ts SEED_BYTES",
  "lib/netcfg/guest-files.ts PIECE_OVERHEAD_BYTES",
  "lib/netcfg/guest-files.ts MAX_FILE_MODE",
  "lib/netcfg/ssh-host-key.ts PEM_LINE_LENGTH",
  "lib/netcfg/ssh-host-key.ts OPENSSH_BLOCK_BYTES",
  "lib/substrate/migration-stream.ts WORD_BYTES",
  "lib/substrate/migration-stream.ts SECTION_HEADER_BYTES",
  "lib/substrate/recipes/disk/iso9660.ts PATH_TABLE_BYTES",
  "lib/substrate/recipes/disk/iso9660.ts SECTOR_BYTES",
  "lib/substrate/sparse-file.ts CHUNK_BYTES",
  "lib/substrate/sparse-file.ts PAGE_BYTES",
];

interface Limit {
  readonly key: string;
  readonly value: number;
}

function limitsOfSources(): Limit[] {
  const files = FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true }).filter(
      (entry) => entry.isFile() && entry.name.endsWith(".ts"),
    ),
  );
  return files.flatMap((entry) => {
    const path = join(entry.parentPath, entry.name);
    const constants = readFileSync(path, "utf8").matchAll(NUMBER_CONSTANT);
    return [...constants].map(([, name = "", text = ""]) => ({
      key: `${relative(ROOT, path)} ${name}`,
      value: evaluate(text),
    }));
  });
}

/** "4 * MIB", "2 ** 31 - 1", "120_000": all that occurs. */
function evaluate(text: string): number {
  const [first = "", second] = text.split(" - ");
  const product = first.split(/ \* /).reduce((result, factor) => result * power(factor), 1);
  return second === undefined ? product : product - power(second);
}

function power(text: string): number {
  const [base = "", exponent = "1"] = text.split(" ** ");
  return (UNITS[base.trim()] ?? Number(base.replaceAll("_", ""))) ** Number(exponent);
}

/** Rows "| `NAME` | 120 000 ms | `lib/file.ts` | effect |". */
function limitsOfPage(): Limit[] {
  const rows = PAGE.matchAll(
    /^\| `([A-Z0-9_]+)` \| ([\d ]+?)(?: (KiB|MiB|ms))? \| `((?:lib|api|daemon|client)\/[^`]+)` \| \S.* \|$/gm,
  );
  return [...rows].map(([, name, digits = "", unit = "", file]) => ({
    key: `${file} ${name}`,
    value: Number(digits.replaceAll(" ", "")) * (UNITS[unit] ?? Number.NaN),
  }));
}

const bySource = new Map(limitsOfSources().map(({ key, value }) => [key, value]));
const documented = limitsOfPage();

describe("docs/LIMITS.md", () => {
  it("can be read by this test, row by row", () => {
    const rows = PAGE.split("\n").filter((line) => line.startsWith("| `"));
    expect(documented).toHaveLength(rows.length);
    expect(documented.length).toBeGreaterThan(50);
  });

  it("gives each constant the value that its source has", () => {
    const inSources = documented.map(({ key }) => ({ key, value: bySource.get(key) }));
    expect(documented).toEqual(inSources);
  });

  it("lists each constant once", () => {
    expect(new Set(documented.map(({ key }) => key)).size).toBe(documented.length);
  });

  it("leaves out no constant whose name is that of a limit", () => {
    const listed = new Set([...documented.map(({ key }) => key), ...NOT_LIMITS]);
    const limits = [...bySource.keys()].filter((key) => LIMIT_NAME.test(key.slice(key.indexOf(" ") + 1)));
    expect(limits.filter((key) => !listed.has(key))).toEqual([]);
  });

  it("shows times in milliseconds, and only times", () => {
    const rows = PAGE.matchAll(/^\| `([A-Z0-9_]+)` \| [\d ]+(ms)? \|/gm);
    for (const [, name = "", unit] of rows) expect(unit === "ms", name).toBe(name.endsWith("_MS"));
  });
});
