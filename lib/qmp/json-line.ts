import { MAX_JSON_DEPTH, MAX_JSON_VALUES } from "./limits.ts";

/** A JSON object without a prototype, so that no key of a peer can reach `Object.prototype`. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Why a line is not an acceptable message; never leaves this folder. */
export class BadJsonError extends Error {}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPENING_BRACKET = 0x5b;
const CLOSING_BRACKET = 0x5d;
const OPENING_BRACE = 0x7b;
const CLOSING_BRACE = 0x7d;

/**
 * Parses one line of a peer that may be hostile.
 *
 * Objects of the result have no prototype. Depth and number of values are checked before parsing: a megabyte of `[`
 * parses well, and then overflows the stack of whatever walks the result.
 *
 * @throws BadJsonError when it is not valid UTF-8, not a JSON object, too deep, too large, or has a key `__proto__`
 */
export function parseJsonObject(line: Buffer): JsonObject {
  checkShape(line);
  let value: unknown;
  try {
    value = JSON.parse(utf8.decode(line), withoutPrototype);
  } catch (error) {
    if (error instanceof BadJsonError) throw error;
    throw new BadJsonError("not JSON in UTF-8", { cause: error });
  }
  if (!isJsonObject(value)) throw new BadJsonError("JSON, but not an object");
  return value;
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function withoutPrototype(key: string, value: unknown): unknown {
  // JSON.parse makes it an own property, and the next Object.assign would make it a prototype.
  if (key === "__proto__") throw new BadJsonError("a key named __proto__");
  return isJsonObject(value) ? Object.assign(Object.create(null), value) : value;
}

/** Strings are jumped over, so that megabytes of base64 cost one `indexOf`. */
function checkShape(line: Buffer): void {
  let depth = 0;
  let values = 0;
  for (let at = 0; at < line.length; at++) {
    const byte = line[at];
    if (byte === QUOTE) at = endOfString(line, at);
    else if (byte === COMMA) values++;
    else if (byte === OPENING_BRACKET || byte === OPENING_BRACE) {
      values++;
      depth++;
    } else if (byte === CLOSING_BRACKET || byte === CLOSING_BRACE) depth--;
    if (depth > MAX_JSON_DEPTH) throw new BadJsonError(`nested deeper than ${MAX_JSON_DEPTH} levels`);
    if (values > MAX_JSON_VALUES) throw new BadJsonError(`more than ${MAX_JSON_VALUES} values`);
  }
}

/** The index of the closing quote, or of the end of the line. */
function endOfString(line: Buffer, openingQuote: number): number {
  let from = openingQuote + 1;
  for (;;) {
    const quote = line.indexOf(QUOTE, from);
    if (quote === -1) return line.length;
    let backslashes = 0;
    while (line[quote - 1 - backslashes] === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return quote;
    from = quote + 1;
  }
}
