import { VmSubstrateError } from "../core/index.ts";

/** One substrate of a catalog, as a caller names it. */
export interface SubstrateReference {
  readonly name: string;
  /** Undefined for the newest, whichever that is when it is looked for. */
  readonly version: number | undefined;
}

/** Versions count up from 1; nine digits are more than anybody builds, and stay a safe integer. */
const REFERENCE = /^([a-z0-9][a-z0-9-]{0,40})(?:@(latest|[1-9][0-9]{0,8}))?$/;

/**
 * `mini`, `mini@latest` (the same) or `mini@3`. It becomes part of a path: nothing else passes, least of all `../`.
 * @throws VmSubstrateError INVALID_ARGUMENT
 */
export function parseReference(text: string): SubstrateReference {
  const [, name, version] = REFERENCE.exec(text) ?? [];
  if (name === undefined) {
    const message = `expected "name", "name@latest" or "name@3", the name of 1 to 41 lower-case letters, digits and hyphens`;
    throw new VmSubstrateError("INVALID_ARGUMENT", message);
  }
  return { name, version: version === undefined || version === "latest" ? undefined : Number(version) };
}

/** `mini` or `mini@3`: one text for all ways to name the same. */
export function formatReference({ name, version }: SubstrateReference): string {
  return version === undefined ? name : `${name}@${version}`;
}
