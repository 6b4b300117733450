import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { VmSubstrateError } from "../../core/index.ts";
import { runTool } from "../../host/index.ts";
import { SharedLock } from "../../store/index.ts";
import { markUsed } from "../build-cache.ts";

const UPDATE_TIMEOUT_MS = 300_000;
const DOWNLOAD_TIMEOUT_MS = 600_000;
const QUERY_TIMEOUT_MS = 60_000;
const UNPACK_TIMEOUT_MS = 120_000;

/** Package names as Debian policy 5.6.1 has them; also keeps `<virtual>` entries and options out of argv. */
const PACKAGE_NAME = /^[a-z0-9][a-z0-9+.-]+$/;

/**
 * Debian packages as files: found, downloaded (apt checks their signatures) and unpacked into a folder, never
 * installed. apt's lists live in a folder of our own, so that this needs no root and the lists are fresh.
 */
export class DebianPackages {
  readonly #dir: string;
  readonly #signal: AbortSignal | undefined;

  private constructor(dir: string, signal: AbortSignal | undefined) {
    this.#dir = dir;
    this.#signal = signal;
  }

  static async update(dir: string, signal: AbortSignal | undefined): Promise<DebianPackages> {
    const packages = new DebianPackages(dir, signal);
    await mkdir(join(dir, "lists/partial"), { recursive: true });
    await mkdir(join(dir, "archives/partial"), { recursive: true });
    // Not by apt's own lock: who does not get that at once has failed.
    const waiting = { what: "apt-get update", timeoutMs: UPDATE_TIMEOUT_MS, signal };
    using _ = await SharedLock.acquire(join(dir, "update.lock"), "exclusive", waiting);
    await packages.#apt(["apt-get", "-qq", "update"], UPDATE_TIMEOUT_MS);
    await markUsed([dir]);
    return packages;
  }

  /** The packages that `names` depend on, directly or not, with `names`. Recommendations stay out. */
  async closure(names: readonly string[]): Promise<string[]> {
    const fields = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances", "pre-depends"];
    const without = fields.map((field) => `--no-${field}`);
    const output = await this.#apt(["apt-cache", "depends", "--recurse", ...without, "--", ...names], QUERY_TIMEOUT_MS);
    return [...new Set(output.split("\n").filter((line) => PACKAGE_NAME.test(line)))].toSorted();
  }

  /** What a metapackage stands for: its one dependency whose name matches. */
  async dependency(metapackage: string, pattern: RegExp): Promise<string> {
    const output = await this.#apt(["apt-cache", "depends", "--", metapackage], QUERY_TIMEOUT_MS);
    const found = output.match(/Depends: (\S+)/g)?.map((line) => line.slice("Depends: ".length)) ?? [];
    const name = found.find((candidate) => pattern.test(candidate));
    if (name !== undefined) return name;
    throw new VmSubstrateError(
      "RECIPE_FAILED",
      `package ${metapackage} depends on nothing like ${pattern}; is this Debian 12?`,
    );
  }

  /** Downloads packages and unpacks them over one another into `root`. */
  async unpack(names: readonly string[], downloads: string, root: string): Promise<void> {
    await mkdir(downloads, { recursive: true });
    await mkdir(root, { recursive: true });
    await this.#apt(["apt-get", "-qq", "download", "--", ...names], DOWNLOAD_TIMEOUT_MS, downloads);
    for (const file of (await readdir(downloads)).toSorted()) {
      const argv = ["dpkg-deb", "--extract", join(downloads, file), root] as const;
      await runTool(argv, { timeoutMs: UNPACK_TIMEOUT_MS, signal: this.#signal });
    }
  }

  async #apt(argv: readonly [string, ...string[]], timeoutMs: number, cwd?: string): Promise<string> {
    const [program, ...args] = argv;
    const settings = {
      "Dir::State::Lists": join(this.#dir, "lists"),
      "Dir::Cache": this.#dir,
      // Otherwise apt run by root downloads as a user who cannot write here.
      "APT::Sandbox::User": "root",
    };
    const options = Object.entries(settings).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
    const output = await runTool([program, ...options, ...args], {
      timeoutMs,
      signal: this.#signal,
      ...(cwd === undefined ? {} : { cwd }),
    });
    return output.toString("utf8");
  }
}
