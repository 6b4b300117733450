import { VmSubstrateError } from "../core/index.ts";
import type { Numbered } from "./lowest-free.ts";

/** The kernel's limit is 64 with its terminator (HOST_NAME_MAX); a DNS label's is 63 (RFC 1035, 2.3.4). */
const HOSTNAME_MAX_CHARS = 63;

/** One DNS label, RFC 1123 2.1, in lower case: nothing that a shell, a hosts file or an option parser could misread. */
const LABEL = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const PLACEHOLDER = "{index}";
/** Numbers with more digits are not exact. */
const MAX_INDEX_DIGITS = 15;

export function isHostname(text: string): boolean {
  return text.length <= HOSTNAME_MAX_CHARS && LABEL.test(text);
}

/** @throws VmSubstrateError INVALID_ARGUMENT */
export function requireHostname(name: string): void {
  if (!isHostname(name)) throw invalid(name, "");
}

function invalid(hostname: string, more: string): VmSubstrateError {
  const expected = `expected lower-case letters, digits and inner hyphens, at most ${HOSTNAME_MAX_CHARS} characters${more}`;
  return new VmSubstrateError("INVALID_ARGUMENT", `hostname ${JSON.stringify(hostname)}: ${expected}`, {
    details: { hostname },
  });
}

/** A hostname, or a pattern in which `{index}` stands for the lowest free number from 0. */
export class HostnamePattern implements Numbered {
  readonly pattern: string;
  readonly #literals: readonly string[];

  private constructor(pattern: string) {
    this.pattern = pattern;
    this.#literals = pattern.split(PLACEHOLDER);
  }

  /** @throws VmSubstrateError INVALID_ARGUMENT */
  static parse(pattern: string): HostnamePattern {
    const parsed = new HostnamePattern(pattern);
    // Checked with a four-digit index, so that every pattern has room for 10 000 VMs.
    if (isHostname(parsed.at(9999))) return parsed;
    throw invalid(pattern, `, with ${PLACEHOLDER} where the number goes, e.g. "node-${PLACEHOLDER}"`);
  }

  get name(): string {
    return this.pattern;
  }

  get isIndexed(): boolean {
    return this.#literals.length > 1;
  }

  /** How many names there are before one would be too long. */
  get capacity(): number {
    if (!this.isIndexed) return 1;
    const digits = Math.floor((HOSTNAME_MAX_CHARS - this.#literals.join("").length) / (this.#literals.length - 1));
    return 10 ** Math.min(digits, MAX_INDEX_DIGITS);
  }

  at(index: number): string {
    return this.#literals.join(String(index));
  }

  /** The index that makes `name` of this pattern. */
  numberOf(name: string): number | undefined {
    if (!this.isIndexed) return name === this.pattern ? 0 : undefined;
    const digits = (name.length - this.#literals.join("").length) / (this.#literals.length - 1);
    const start = this.#literals[0]?.length ?? 0;
    const text = name.slice(start, start + digits);
    if (!/^\d+$/.test(text) || text.length > MAX_INDEX_DIGITS) return undefined;
    return this.at(Number(text)) === name ? Number(text) : undefined;
  }
}
