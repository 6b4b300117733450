import { createInterface } from "node:readline/promises";
import type { Command } from "commander";
import type { RemotePool, RemoteVm } from "../../client/index.ts";
import { VmSubstrateError } from "../../lib/index.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { showVms } from "../vm-rows.ts";

interface Options {
  readonly all?: boolean;
  readonly label?: string;
  readonly yes?: boolean;
}

export function releaseCommand(cli: Cli): Command {
  return command("release", {
    summary: "End VMs; nothing of them is left",
    examples: [
      "substrate release node-0 node-1",
      "substrate release --label match=17",
      "substrate release --all --yes",
    ],
  })
    .argument("[vm...]")
    .option("--all", "every VM; asks first on a terminal")
    .option("--label <selector>", "those that it selects")
    .option("--yes", "do not ask")
    .action(async (names: readonly string[], options: Options) => {
      const ways = [names.length > 0, options.all === true, options.label !== undefined].filter(Boolean);
      if (ways.length !== 1) {
        throw new VmSubstrateError("INVALID_ARGUMENT", "say which: names of VMs, --label SELECTOR, or --all");
      }
      const pool = await cli.pool();
      const vms =
        names.length > 0 ? await cli.each(names, (name) => pool.find(name)) : await selected(cli, pool, options);
      const released = await cli.each(
        [...new Set(vms)].map(({ id }) => id),
        async (id) => {
          const vm = vms.find((one) => one.id === id);
          await vm?.release();
          return vm;
        },
      );
      await showVms(
        cli,
        released.flatMap((vm) => (vm === undefined ? [] : [vm])),
      );
    });
}

async function selected(cli: Cli, pool: RemotePool, { all, label, yes }: Options): Promise<RemoteVm[]> {
  const vms = await pool.list({ labels: label });
  const mustAsk = all === true && yes !== true && vms.length > 0 && cli.io.stdin.isTTY === true;
  if (mustAsk && !(await confirmed(cli, `Release all ${vms.length} VMs? [y/N] `))) {
    cli.out.say("nothing was released");
    cli.exitCode = 1;
    return [];
  }
  return vms;
}

async function confirmed({ io, signal }: Cli, question: string): Promise<boolean> {
  const lines = createInterface({ input: io.stdin, output: io.stderr });
  try {
    return /^y(es)?$/i.test((await lines.question(question, { signal })).trim());
  } catch (cause) {
    throw new VmSubstrateError("ABORTED", "nothing was released", { cause });
  } finally {
    lines.close();
  }
}
