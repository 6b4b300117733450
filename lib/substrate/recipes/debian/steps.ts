import { createHash } from "node:crypto";
import { dirname } from "node:path/posix";
import { VmSubstrateError } from "../../../core/index.ts";
import { type GuestFile, writeFiles } from "../../../netcfg/index.ts";
import { guestExec } from "../../../qmp/index.ts";
import type { GuestChannels } from "../../ready/index.ts";
import type { DebianDocument } from "./document.ts";

const STEP_TIMEOUT_MS = 600_000;
const OUTPUT_TAIL_CHARS = 2000;
const ENVIRONMENT = { HOME: "/root", DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C.UTF-8" };

/** One change of a guest's disk, made by the running guest itself: nothing of a recipe is ever run on this machine. */
export interface Step {
  /** For people. */
  readonly name: string;
  /** Changes exactly when what the step does changes. */
  readonly key: string;
  apply(guest: GuestChannels, signal: AbortSignal | undefined): Promise<void>;
}

/** A recipe's steps, in their order. @param files with the content of each */
export function stepsOf({ run, units }: Pick<DebianDocument, "run" | "units">, files: readonly GuestFile[]): Step[] {
  const steps: Step[] = [];
  if (files.length > 0) steps.push(filesStep(files));
  for (const item of run) {
    const { command, timeoutMs } =
      typeof item === "string" || Array.isArray(item) ? { command: item, timeoutMs: undefined } : item;
    steps.push(runStep(typeof command === "string" ? ["/bin/sh", "-ec", command] : command, timeoutMs));
  }
  if (units.length > 0) steps.push(runStep(["systemctl", "enable", "--", ...units], undefined));
  return steps;
}

function filesStep(files: readonly GuestFile[]): Step {
  const folders = [...new Set(files.map(({ path }) => dirname(path)))];
  return {
    name: files.length === 1 ? `file ${files[0]?.path}` : `${files.length} files`,
    key: keyOf(["files", files.map(({ path, mode, content }) => [path, mode, digest(content)])]),
    async apply(guest, signal) {
      const within = { timeoutMs: STEP_TIMEOUT_MS, signal };
      await runInGuest(guest, ["mkdir", "-p", "--", ...folders], within);
      await writeFiles(guest.helper, files, within);
    },
  };
}

function runStep(argv: readonly string[], timeoutMs: number | undefined): Step {
  return {
    name: `run ${argv.at(0) === "/bin/sh" ? argv.at(-1) : argv.join(" ")}`,
    key: keyOf(["run", argv]),
    apply: (guest, signal) => runInGuest(guest, argv, { timeoutMs: timeoutMs ?? STEP_TIMEOUT_MS, signal }),
  };
}

/** @throws VmSubstrateError BUILD_FAILED with the end of what it printed */
async function runInGuest(
  { agent }: GuestChannels,
  argv: readonly string[],
  options: { readonly timeoutMs: number; readonly signal: AbortSignal | undefined },
): Promise<void> {
  const result = await guestExec(agent, argv, { ...options, env: ENVIRONMENT });
  if (result.exitCode === 0) return;
  const output = Buffer.concat([result.stdout, result.stderr]).toString("utf8").slice(-OUTPUT_TAIL_CHARS);
  const how = result.signal === null ? `status ${result.exitCode}` : `signal ${result.signal}`;
  const message = `step ${JSON.stringify(argv.join(" "))} of the recipe ended with ${how}: ${output.trim() || "(no output)"}`;
  throw new VmSubstrateError("BUILD_FAILED", message, { details: { argv, exitCode: result.exitCode } });
}

function keyOf(what: unknown): string {
  return digest(JSON.stringify(what));
}

function digest(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}
