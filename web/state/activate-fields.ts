import type { ActivateBody, SubstrateView } from "../../api/index.ts";
import { parseDuration } from "./duration.ts";
import { parseLabels } from "./labels.ts";

/** The form's fields, as they were typed. */
export interface ActivateFields {
  readonly substrate: string;
  readonly count: string;
  readonly hostname: string;
  readonly labels: string;
  readonly ttl: string;
  readonly wait: boolean;
}

export type BodyRead = { readonly body: ActivateBody } | { readonly problem: string };

const MAX_COUNT = 1024;

/** What the fields ask for. Only what a person may mistype is looked at here; the daemon checks all of it. */
export function activateBody(fields: ActivateFields): BodyRead {
  const count = Number(fields.count);
  if (!Number.isInteger(count) || count < 1 || count > MAX_COUNT) {
    return { problem: `The count is a whole number from 1 to ${MAX_COUNT}, not "${fields.count}".` };
  }
  const read = parseLabels(fields.labels);
  if ("problem" in read) return read;
  const ttlText = fields.ttl.trim();
  const ttlMs = ttlText === "" ? undefined : parseDuration(ttlText);
  if (ttlText !== "" && (ttlMs === undefined || ttlMs === 0)) {
    return { problem: `"${ttlText}" is no length of time; write 90 s, 30 min, 2 h or 1 d.` };
  }
  const hostname = fields.hostname.trim();
  return {
    body: {
      count,
      mode: "atomic",
      spec: {
        substrate: fields.substrate,
        ...(hostname === "" ? {} : { hostname }),
        ...(Object.keys(read.labels).length === 0 ? {} : { labels: read.labels }),
        ...(ttlMs === undefined ? {} : { ttlMs }),
        ...(fields.wait ? { wait: true } : {}),
      },
    },
  };
}

/** What can be asked for: each name, which is its newest version, and then every version. */
export function substrateChoices(substrates: readonly SubstrateView[]): string[] {
  const names = [...new Set(substrates.map(({ name }) => name))].toSorted();
  const versions = substrates.toSorted((a, b) => a.name.localeCompare(b.name) || b.version - a.version);
  return [...names, ...versions.map(({ name, version }) => `${name}@${version}`)];
}
