import { InvalidArgumentError } from "commander";
import { isVmSubstrateError } from "../lib/index.ts";
import { parseDuration } from "./units.ts";

/** How options are read. What is wrong is said by commander, with the option's name. */
export function whole(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError("expected a whole number");
  return Number(text);
}

export function duration(text: string): number {
  try {
    return parseDuration(text);
  } catch (error) {
    throw new InvalidArgumentError(isVmSubstrateError(error) ? error.message : String(error));
  }
}

/** Of an option that may be given several times. */
export function list(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

/** "key=value", several times. A value may have further "=", or be empty. */
export function pair(text: string, before: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("expected KEY=VALUE");
  return Object.fromEntries([...Object.entries(before), [text.slice(0, at), text.slice(at + 1)]]);
}
