import { isVmSubstrateError, VmSubstrateError } from "../core/index.ts";
import { type GuestFile, type IdentityProfile, writeFiles } from "../netcfg/index.ts";
import { guestExec } from "../qmp/index.ts";
import type { Clone } from "./clone.ts";

/** What the end of a failed command's output is cut to in an error. */
const OUTPUT_TAIL_BYTES = 2048;
/** pam_env(8) reads it for every login. */
const ENVIRONMENT_FILE = "/etc/environment";
const FILES_TIMEOUT_MS = 60_000;
const TELL_TIMEOUT_MS = 30_000;

/** What a VM is given beside its identity. */
export interface Provision {
  /** For a VM that has its identity already; they are part of it otherwise. */
  readonly authorizedKeys: readonly string[];
  readonly files: readonly GuestFile[];
  /** For `run` and every later `exec`, and for logins by /etc/environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Must succeed before anybody gets the VM. */
  readonly run?: { readonly argv: readonly string[]; readonly timeoutMs: number } | undefined;
}

/** @throws VmSubstrateError GUEST_HELPER_FAILED, IDENTITY_UNVERIFIED, TIMEOUT, ABORTED */
export async function provideFiles(
  clone: Clone,
  { files, env }: Provision,
  identity: readonly GuestFile[],
  signal: AbortSignal,
): Promise<void> {
  const environment = Object.keys(env).length === 0 ? [] : [environmentFile(env)];
  const all = [...identity, ...files, ...environment];
  if (all.length > 0) await writeFiles(clone.guest.helper, all, { timeoutMs: FILES_TIMEOUT_MS, signal });
}

/**
 * Tells the services that run in the guest, and that read at their start who it is.
 * @throws VmSubstrateError IDENTITY_UNVERIFIED when one did not take it in, GUEST_AGENT_*, TIMEOUT, ABORTED
 */
export async function tellServices(
  { guest }: Pick<Clone, "guest">,
  programs: readonly (readonly string[])[],
  signal: AbortSignal,
): Promise<void> {
  for (const argv of programs) {
    const { exitCode } = await guestExec(await guest.agent(), argv, { timeoutMs: TELL_TIMEOUT_MS, signal });
    if (exitCode === 0) continue;
    const message = `${JSON.stringify(argv.join(" "))} ended with status ${exitCode}: a service may still show who the substrate was`;
    throw new VmSubstrateError("IDENTITY_UNVERIFIED", message, { details: { part: "services", argv } });
  }
}

/** @throws VmSubstrateError RUN_FAILED with the command's status and the end of its output, GUEST_AGENT_*, ABORTED */
export async function runFirst(clone: Clone, { run, env }: Provision, signal: AbortSignal): Promise<void> {
  if (run === undefined) return;
  const { argv, timeoutMs } = run;
  const withEnv = Object.keys(env).length === 0 ? {} : { env };
  const agent = await clone.guest.agent();
  const result = await guestExec(agent, argv, { timeoutMs, signal, ...withEnv }).catch((cause: unknown) => {
    if (!isVmSubstrateError(cause, "GUEST_EXEC_TIMEOUT") && !isVmSubstrateError(cause, "GUEST_COMMAND_FAILED"))
      throw cause;
    const message = `run: ${JSON.stringify(argv[0])} did not succeed in the new VM, which was destroyed: ${cause.message}`;
    throw new VmSubstrateError("RUN_FAILED", message, { cause, details: { exitCode: null, stdout: "", stderr: "" } });
  });
  if (result.exitCode === 0) return;
  const how = result.signal === null ? `status ${result.exitCode}` : `signal ${result.signal}`;
  const tail = (bytes: Uint8Array) => new TextDecoder().decode(bytes.subarray(-OUTPUT_TAIL_BYTES));
  const stderr = tail(result.stderr);
  const message = `run: ${JSON.stringify(argv[0])} ended with ${how} in the new VM, which was destroyed; stderr ends with ${JSON.stringify(stderr)}`;
  const { exitCode } = result;
  throw new VmSubstrateError("RUN_FAILED", message, { details: { exitCode, stdout: tail(result.stdout), stderr } });
}

/** The keys that a VM was claimed with, for one whose identity was set before they were known. */
export function authorizedKeysFile(keys: readonly string[], profile: IdentityProfile): GuestFile[] {
  if (keys.length === 0 || profile.authorizedKeys === undefined) return [];
  return [{ path: profile.authorizedKeys, mode: 0o600, content: keys.map((key) => `${key}\n`).join("") }];
}

/** KEY="value" lines, as pam_env(8) reads them; the schema has seen to it that values hold neither quotes nor newlines. */
function environmentFile(env: Readonly<Record<string, string>>): GuestFile {
  const lines = Object.entries(env).map(([name, value]) => `${name}="${value}"\n`);
  return { path: ENVIRONMENT_FILE, mode: 0o644, content: lines.join("") };
}
