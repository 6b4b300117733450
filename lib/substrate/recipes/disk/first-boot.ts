import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isVmSubstrateError, VmSubstrateError } from "../../../core/index.ts";
import type { RecipePaths } from "../../../host/index.ts";
import { guestExec, writeGuestFile } from "../../../qmp/index.ts";
import { BootedGuest } from "../../boot.ts";
import { bootedBy } from "../../boot-files.ts";
import { awaitReady, type GuestChannels } from "../../ready/index.ts";
import type { GuestProfile, RecipeContext } from "../../recipe.ts";
import { seedImage } from "./seed.ts";

/** Counts up when the seed, or what is done with it, changes. */
export const SEED_REVISION = 2;

/** cloud-init does nothing where this file is. Source: its documentation, "How to disable cloud-init". */
const DISABLED = "/etc/cloud/cloud-init.disabled";
const OUTPUT_TAIL_CHARS = 2000;

interface Within {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Boots a guest once with a seed for its cloud-init, and switches that off when it has done its work: the machine that is
 * frozen later has no seed, and no clone is to be taken for a new instance.
 *
 * @throws VmSubstrateError BUILD_FAILED, INSUFFICIENT_*, QEMU_*, TIMEOUT, ABORTED
 */
export async function bootWithSeed(
  guest: GuestProfile,
  files: RecipePaths,
  timeoutMs: number,
  context: RecipeContext,
): Promise<void> {
  const { progress, signal, workDir, accelerator } = context;
  const seed = join(workDir, "seed.iso");
  await writeFile(seed, seedImage());
  progress("step", "cloud-init");
  const booting = {
    guest,
    ...bootedBy(guest, files),
    disk: files.disk,
    seed,
    accelerator,
    helperProgram: files.helper,
  };
  await using booted = await BootedGuest.boot(booting, context);
  const within = { timeoutMs, signal };
  const working = async () => {
    await awaitReady([{ probe: "agent" }], booted.channels, within);
    await awaitCloudInit(booted.channels, within);
    await writeGuestFile(booted.channels.agent, DISABLED, "", within);
    await guestExec(booted.channels.agent, ["sync"], within);
    // Some agents may not; what is synced is there all the same, as after a loss of power.
    await booted.channels.agent.execute("guest-fsfreeze-freeze", {}, within).catch(() => {});
  };
  await booted.during(working(), signal);
  await booted.instance.process.terminate();
}

/** Status 2 is "done, with errors that could be mended". Source: cloud-init's documentation, "Return codes". */
async function awaitCloudInit({ agent }: GuestChannels, within: Within): Promise<void> {
  const { exitCode, stdout, stderr } = await guestExec(agent, ["cloud-init", "status", "--wait"], within).catch(
    (cause: unknown) => {
      if (!isVmSubstrateError(cause, "GUEST_COMMAND_FAILED")) throw cause;
      const message = "the recipe says cloudInit, and the guest has no cloud-init that could be run";
      throw new VmSubstrateError("BUILD_FAILED", message, { cause });
    },
  );
  if (exitCode === 0 || exitCode === 2) return;
  const said = await reasonOf(agent, within).catch(() => Buffer.concat([stdout, stderr]).toString("utf8"));
  const message = `the guest's cloud-init ended with status ${exitCode}: ${said.trim().slice(-OUTPUT_TAIL_CHARS)}`;
  throw new VmSubstrateError("BUILD_FAILED", message, { details: { exitCode } });
}

/** Which of its stages failed, and by what: without asking it says only that there was an error. */
async function reasonOf(agent: GuestChannels["agent"], within: Within): Promise<string> {
  const { stdout } = await guestExec(agent, ["cloud-init", "status", "--long"], within);
  return Buffer.from(stdout).toString("utf8");
}
