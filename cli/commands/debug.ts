import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import type { RemoteVm } from "../../client/index.ts";
import { VmSubstrateError } from "../../lib/index.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { writeBundle } from "../support-bundle.ts";

export function debugCommand(cli: Cli): Command {
  return command("debug", {
    summary: "Show the command line of a VM's QEMU, or write a bundle for support",
    more: "The bundle has that command line, the ends of logs and console, configuration, versions, docks, VMs and what doctor says. Tokens, environment and contents of files are left out; labels, names and addresses are in it.",
    examples: ["substrate debug node-0", "substrate debug node-0 --bundle support.tar"],
  })
    .argument("<vm>")
    .option("--bundle <file>", "write a tar file instead")
    .action(async (name: string, { bundle }: { readonly bundle?: string }) => {
      const pool = await cli.pool();
      const vm = await pool.find(name);
      const argv = await qemuArgv(cli, vm);
      if (bundle !== undefined) {
        await writeBundle(cli, { pool, vm, argv, file: bundle });
        cli.out.say(`wrote ${bundle}; look at what is in it before you pass it on`);
        return;
      }
      const { isTable } = cli.out;
      if (isTable)
        await cli.out.text(
          `${argv
            .map(quoted)
            .join(" ")
            .replaceAll(/ (?=-[a-z])/g, " \\\n  ")}\n`,
        );
      else await cli.out.one({ id: vm.id, name: vm.hostname, pid: vm.pid, argv }, []);
    });
}

/** The processes of another machine cannot be seen here. */
async function qemuArgv(cli: Cli, { pid, hostname }: RemoteVm): Promise<string[]> {
  if ((await cli.settings()).url !== undefined) {
    throw new VmSubstrateError("INVALID_ARGUMENT", "debug is for VMs of this machine; leave --url away");
  }
  const text = await readFile(`/proc/${pid}/cmdline`, "utf8").catch((cause: unknown) => {
    throw new VmSubstrateError("VM_GONE", `process ${pid} of VM ${hostname} cannot be looked at`, { cause });
  });
  // One that was forked has the room of its parent, filled up with nothing.
  return text.replace(/\0+$/, "").split("\0");
}

/** For a shell. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
