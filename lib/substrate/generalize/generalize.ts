import { VmSubstrateError } from "../../core/index.ts";
import { identityFiles, identityFilesLeft } from "../../netcfg/index.ts";
import { guestExec, readGuestFile, writeGuestFile } from "../../qmp/index.ts";
import type { GuestChannels } from "../ready/index.ts";
import type { GuestProfile } from "../recipe.ts";
import { findArguments, matches, type Search } from "./find.ts";
import { closeJournal } from "./journal.ts";
import type { StepOptions } from "./step-options.ts";
import { ALWAYS_KEPT, TRACES } from "./traces.ts";

const NEUTRAL_HOSTNAME = "localhost";
/** Named in a report, of each trace. */
const MAX_NAMED_PATHS = 20;
const RECIPES_OWN = "the recipe's own";

/** What was taken out of a guest, and why. */
export interface Generalized {
  readonly trace: string;
  readonly why: string;
  readonly files: number;
  /** The first of them. */
  readonly paths: readonly string[];
}

/**
 * Takes out of a running guest all that is its own, so that clones cannot inherit it: keys, leases, seeds, logs, names. What an
 * identity consists of is emptied by `miniaturize`, after it was rehearsed.
 *
 * @throws VmSubstrateError what the guest's channels throw
 */
export async function generalize(
  guest: GuestChannels,
  profile: GuestProfile,
  options: StepOptions,
): Promise<Generalized[]> {
  const { remove, empty } = searches(profile);
  await closeJournal(guest.agent, options);
  await guestExec(guest.agent, ["cloud-init", "clean", "--logs"], options).catch(() => {});
  const removed = await found(guest, remove, ["-print", "-exec", "rm", "-rf", "{}", "+"], options);
  const emptied = await found(guest, empty, ["-print", "-exec", "truncate", "-c", "-s", "0", "{}", "+"], options);
  for (const path of profile.generalize.truncate) await writeGuestFile(guest.agent, path, "", options);
  await guest.helper.request([{ name: "hostname", value: NEUTRAL_HOSTNAME }], options);
  return report([...removed, ...emptied, ...profile.generalize.truncate], profile);
}

/** @throws VmSubstrateError BUILD_FAILED when something personal is still there */
export async function requireGeneral(guest: GuestChannels, profile: GuestProfile, options: StepOptions): Promise<void> {
  const identity = new Set(identityFiles(profile)); // they are there again, and looked into below
  const { remove, empty } = searches(profile);
  const left = [
    ...(await found(guest, remove, ["-print"], options)),
    ...(await found(guest, empty, ["-print"], options)),
  ];
  const personal = left.filter((path) => !identity.has(path));
  if (personal.length > 0) throw leftOver(personal);
  for (const path of profile.generalize.truncate) {
    if ((await readGuestFile(guest.agent, path, options)).length > 0) throw leftOver([path]);
  }
  const filled = await identityFilesLeft(guest.helper, profile, options);
  if (filled.length > 0)
    throw new VmSubstrateError("BUILD_FAILED", `generalize left an identity in the guest's ${filled.join(", ")}`);
}

function searches({ generalize: { remove, keep } }: GuestProfile): { readonly remove: Search; readonly empty: Search } {
  const except = [...ALWAYS_KEPT, ...keep];
  const of = (how: "remove" | "empty") => TRACES.filter((trace) => trace.how === how).flatMap(({ paths }) => paths);
  return {
    remove: { patterns: [...of("remove"), ...remove], except },
    empty: { patterns: of("empty"), except, filled: true },
  };
}

async function found(
  { agent }: GuestChannels,
  search: Search,
  actions: readonly string[],
  options: StepOptions,
): Promise<string[]> {
  const { stdout, stderr } = await guestExec(agent, [...findArguments(search), ...actions], options);
  // A folder that is not there is as good as an empty one. Anything else might have found nothing for want of looking.
  const complaints = Buffer.from(stderr).toString("utf8").split("\n");
  const serious = complaints.find((line) => line !== "" && !line.includes("No such file or directory"));
  if (serious !== undefined) throw new VmSubstrateError("BUILD_FAILED", `the guest's find(1) complained: ${serious}`);
  return Buffer.from(stdout)
    .toString("utf8")
    .split("\n")
    .filter((path) => path !== "");
}

function report(paths: readonly string[], { generalize: { remove, truncate } }: GuestProfile): Generalized[] {
  const own = { name: RECIPES_OWN, why: "the recipe says so", paths: [...remove, ...truncate] };
  return [...TRACES, own].flatMap(({ name, why, paths: patterns }) => {
    const its = paths.filter((path) => patterns.some((pattern) => matches(pattern, path)));
    return its.length === 0 ? [] : [{ trace: name, why, files: its.length, paths: its.slice(0, MAX_NAMED_PATHS) }];
  });
}

function leftOver(paths: readonly string[]): VmSubstrateError {
  const named = paths.slice(0, MAX_NAMED_PATHS).join(" ");
  return new VmSubstrateError("BUILD_FAILED", `generalize left ${JSON.stringify(named)} in the guest`);
}
