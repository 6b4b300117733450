import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { VmSubstrateError } from "../../../core/index.ts";
import { runTool } from "../../../host/index.ts";

const APT_DIR = "/etc/apt";
const QUERY_TIMEOUT_MS = 30_000;

/**
 * Where this machine gets a Debian release from, as deb822 text: its mirrors may be the only ones within reach. Sources of
 * anybody else stay out of guests.
 *
 * @throws VmSubstrateError RECIPE_FAILED
 */
export async function aptSources(suite: string, dir: string = APT_DIR): Promise<string> {
  const folder = join(dir, "sources.list.d");
  const names = await readdir(folder).catch(() => []);
  const stanzas: string[] = [];
  for (const file of [join(dir, "sources.list"), ...names.toSorted().map((name) => join(folder, name))]) {
    if (!file.endsWith(".list") && !file.endsWith(".sources")) continue;
    const text = await readFile(file, "utf8").catch(() => "");
    stanzas.push(...(file.endsWith(".list") ? fromLines(text) : fromStanzas(text)).filter(isOf(suite)));
  }
  if (stanzas.length > 0) return `${stanzas.join("\n\n")}\n`;
  throw new VmSubstrateError(
    "RECIPE_FAILED",
    `this machine's apt has no source of Debian "${suite}" (looked in ${dir})`,
  );
}

/** How this machine's apt reaches them (proxies, checks of dates), as an apt.conf(5). */
export async function aptTransport(signal: AbortSignal | undefined): Promise<string> {
  const argv = ["apt-config", "dump", "--format", '%f "%v";%n', "Acquire"] as const;
  return (await runTool(argv, { timeoutMs: QUERY_TIMEOUT_MS, signal })).toString("utf8");
}

/** One-line style, sources.list(5). */
function fromLines(text: string): string[] {
  const found: string[] = [];
  for (const line of text.split("\n")) {
    const match = /^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.+)$/.exec(line.trim());
    if (match === null) continue;
    const [, options = "", uri, suite, components] = match;
    const signedBy = /(?:^|\s)signed-by=(\S+)/.exec(options)?.[1];
    const fields = ["Types: deb", `URIs: ${uri}`, `Suites: ${suite}`, `Components: ${components}`];
    found.push([...fields, ...(signedBy === undefined ? [] : [`Signed-By: ${signedBy}`])].join("\n"));
  }
  return found;
}

/** Deb822 style, without comments. */
function fromStanzas(text: string): string[] {
  const lines = text.split("\n").filter((line) => !line.startsWith("#"));
  return lines
    .join("\n")
    .split(/\n\s*\n/)
    .map((stanza) => stanza.trim())
    .filter((stanza) => stanza !== "" && !/^Enabled:\s*no$/im.test(stanza));
}

/** A stanza of the release or of its updates, binary packages, in Debian's own archive. */
function isOf(suite: string): (stanza: string) => boolean {
  return (stanza) => {
    const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, "im").exec(stanza)?.[1]?.split(/\s+/) ?? [];
    const suites = field("Suites");
    const isDebian = field("URIs").every((uri) => /\/debian(-security)?\/?$/.test(uri));
    return (
      isDebian &&
      field("Types").includes("deb") &&
      suites.length > 0 &&
      suites.every((name) => name === suite || name.startsWith(`${suite}-`))
    );
  };
}
