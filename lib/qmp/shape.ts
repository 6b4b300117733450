import { isJsonObject } from "./json-line.ts";

/** What a check says about a value of the wrong shape; never leaves this folder. */
export class BadShapeError extends Error {}

/** Gives the value in the wanted type, rebuilt from its known fields alone, or throws BadShapeError naming `at`. */
export type Check<T> = (value: unknown, at: string) => T;

function bad(at: string, wanted: string): never {
  throw new BadShapeError(`${at} must be ${wanted}`);
}

export const aBoolean: Check<boolean> = (value, at) => (typeof value === "boolean" ? value : bad(at, "a boolean"));

export function anInteger(min: number, max: number = Number.MAX_SAFE_INTEGER): Check<number> {
  return (value, at) => {
    const fits = typeof value === "number" && Number.isInteger(value) && value >= min && value <= max;
    return fits ? value : bad(at, `an integer from ${min} to ${max}`);
  };
}

/** NUL is refused: what it means depends on who reads the string next. */
export function aString(maxCharacters: number): Check<string> {
  return (value, at) => {
    const fits = typeof value === "string" && value.length <= maxCharacters && !value.includes("\0");
    return fits ? value : bad(at, `a string of at most ${maxCharacters} characters without NUL`);
  };
}

export function oneOf<const Word extends string>(...words: readonly Word[]): Check<Word> {
  return (value, at) => words.find((word) => word === value) ?? bad(at, words.join(" or "));
}

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/** Strictly: `Buffer.from(text, "base64")` would skip whatever it does not know. */
export const base64: Check<string> = (value, at) => {
  const fits = typeof value === "string" && value.length % 4 === 0 && BASE64.test(value);
  return fits ? value : bad(at, "base64");
};

export function base64Bytes(text: string): number {
  return (text.length / 4) * 3 - (text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0);
}

export function arrayOf<T>(maxItems: number, item: Check<T>): Check<readonly T[]> {
  return (value, at) => {
    if (!Array.isArray(value) || value.length > maxItems) return bad(at, `an array of at most ${maxItems} items`);
    return value.map((element, index) => item(element, `${at}[${index}]`));
  };
}

type Fields = Readonly<Record<string, Check<unknown>>>;
type Checked<F extends Fields> = { readonly [Key in keyof F]: ReturnType<F[Key]> };

/** An object with the required and, where present, the optional fields. Unknown fields are dropped. No prototype. */
export function object<Required extends Fields, Optional extends Fields>(
  required: Required,
  optional: Optional,
): Check<Checked<Required> & Partial<Checked<Optional>>> {
  return (value, at) => {
    if (!isJsonObject(value)) return bad(at, "an object");
    const result: Record<string, unknown> = Object.create(null);
    for (const [key, check] of Object.entries(required)) result[key] = check(value[key], `${at}.${key}`);
    for (const [key, check] of Object.entries(optional)) {
      if (value[key] !== undefined) result[key] = check(value[key], `${at}.${key}`);
    }
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- filled key by key from these very types
    return result as Checked<Required> & Partial<Checked<Optional>>;
  };
}

/** Whatever a command that returns nothing answered is dropped. */
export const empty: Check<Readonly<Record<string, never>>> = (value, at) =>
  isJsonObject(value) ? Object.create(null) : bad(at, "an object");
