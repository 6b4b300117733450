import type { Command } from "commander";
import type { RemotePool, RemoteVm } from "../../client/index.ts";
import { type ActivateSpec, isVmSubstrateError, VmSubstrateError } from "../../lib/index.ts";
import { RECIPE_NAMES } from "../../lib/substrate/index.ts";
import { build } from "../build.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { whole } from "../values.ts";
import { type ActivateOptions, activateSpec, addActivateOptions } from "../vm-options.ts";
import { showMade } from "../vm-rows.ts";

interface Options extends ActivateOptions {
  readonly settled?: boolean;
  readonly coldBoot?: boolean;
}

export function activateCommand(cli: Cli): Command {
  const made = command("activate", {
    summary: "Make personal, running VMs of a substrate",
    more: "All of them or none, unless --settled. From the dock of the substrate where one fits, which takes milliseconds; else cloned. A substrate of a recipe that is built in (mini, debian) is built first when it is missing. What follows -- is run in each VM, and must end with status 0 before it is handed out.",
    examples: [
      "substrate activate 3 --substrate mini",
      "substrate activate 2 --substrate mini --hostname red --hostname blue --fabric mcast --subnet 10.90.0.0/24",
      "substrate activate 1 --substrate mini --cpus 4 --memory-mib 1024 --label match=17 --ttl 1h --format json",
      "substrate activate 1 --substrate mini --file job.json:/root/job.json:0600 --env MATCH=17 -- mkdir -p /srv/match",
    ],
  });
  return addActivateOptions(made.argument("<count>", "how many VMs", whole).argument("[command...]", "after --"))
    .option("--settled", "each VM for itself: those that can be made are")
    .option("--cold-boot", "boot instead of cloning, to compare with")
    .action(async (count: number, argv: readonly string[], options: Options) => {
      if (options.settled === true && options.coldBoot === true) {
        throw new VmSubstrateError("INVALID_ARGUMENT", "--settled and --cold-boot do not go together");
      }
      const spec = await activateSpec(options, argv);
      await showMade(cli, await activate(cli, count, spec, options));
    });
}

async function activate(cli: Cli, count: number, spec: ActivateSpec, options: Options): Promise<RemoteVm[]> {
  const call = (to: RemotePool) => once(cli, to, count, spec, options);
  const pool = await cli.pool();
  try {
    return await call(pool);
  } catch (error) {
    const missing = isVmSubstrateError(error, "SUBSTRATE_NOT_FOUND") ? builtIn(spec.substrate) : undefined;
    if (missing !== undefined) {
      cli.out.say(`there is no substrate "${missing}" yet; building it`);
      await build(cli, { recipe: missing });
      return await call(pool);
    }
    if (!isVmSubstrateError(error, "DAEMON_UNREACHABLE")) throw error;
    if (spec.idempotencyKey === undefined) throw unknownOutcome(error);
    cli.out.say("the daemon was lost during the call; asking again with the same key");
    return await call(await cli.reconnect());
  } finally {
    cli.out.progress.clear();
  }
}

async function once(cli: Cli, pool: RemotePool, count: number, spec: ActivateSpec, options: Options) {
  const { signal } = cli;
  cli.out.progress.show(`activating ${count} of ${spec.substrate}`);
  if (options.coldBoot === true) return pool.coldBoot(count, spec, { signal });
  if (options.settled !== true) return pool.activate(count, spec, { signal });
  const outcomes = await pool.activateSettled(count, spec, { signal });
  for (const one of outcomes) if ("error" in one) cli.failed(one.error);
  return outcomes.flatMap((one) => ("vm" in one ? [one.vm] : []));
}

/** Without a key nobody can ask what became of a call. */
function unknownOutcome(cause: VmSubstrateError): VmSubstrateError {
  const message = `the daemon was lost during the call (${cause.message}). Whether VMs were made shows: substrate ps. With --idempotency-key a call can be repeated`;
  return new VmSubstrateError("DAEMON_UNREACHABLE", message, { cause });
}

/** The recipe that makes a substrate of that name, unless a version is asked for that only this catalog could have. */
function builtIn(substrate: string): string | undefined {
  const name = substrate.replace(/@latest$/, "");
  return RECIPE_NAMES.includes(name) ? name : undefined;
}
