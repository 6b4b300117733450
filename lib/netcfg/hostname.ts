import { VmSubstrateError } from "../core/index.ts";

/** The kernel's limit is 64 with its terminator (HOST_NAME_MAX); a DNS label's is 63 (RFC 1035, 2.3.4). */
const HOSTNAME_MAX_CHARS = 63;

/** One DNS label, RFC 1123 2.1, in lower case: nothing that a shell, a hosts file or an option parser could misread. */
const LABEL = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const PLACEHOLDER = "{index}";

function isHostname(text: string): boolean {
  return text.length <= HOSTNAME_MAX_CHARS && LABEL.test(text);
}

/** A hostname, or a pattern in which `{index}` stands for the lowest free number from 0. */
export class HostnamePattern {
  readonly pattern: string;

  private constructor(pattern: string) {
    this.pattern = pattern;
  }

  /** @throws VmSubstrateError INVALID_ARGUMENT */
  static parse(pattern: string): HostnamePattern {
    const parsed = new HostnamePattern(pattern);
    // Checked with a four-digit index, so that a pattern cannot grow past the limit while it is in use.
    if (isHostname(parsed.at(9999))) return parsed;
    throw new VmSubstrateError(
      "INVALID_ARGUMENT",
      `hostname ${JSON.stringify(pattern)}: expected lower-case letters, digits and inner hyphens, at most ` +
        `${HOSTNAME_MAX_CHARS} characters, with ${PLACEHOLDER} where the number goes, e.g. "node-${PLACEHOLDER}"`,
      { details: { hostname: pattern } },
    );
  }

  get isIndexed(): boolean {
    return this.pattern.includes(PLACEHOLDER);
  }

  at(index: number): string {
    return this.pattern.replaceAll(PLACEHOLDER, String(index));
  }
}
