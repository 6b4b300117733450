import { type Command, Option } from "commander";
import { VM_STATES } from "../../api/index.ts";
import type { RemoteVm } from "../../client/index.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { records } from "../output/records.ts";
import { sheet } from "../output/table.ts";
import { formatBytes, formatDuration } from "../units.ts";
import { duration, whole } from "../values.ts";
import { addNewVmOptions, type NewVmOptions, newVmSpec } from "../vm-options.ts";
import { labelsText, showMade, showVms, vmRow } from "../vm-rows.ts";

export function psCommand(cli: Cli): Command {
  return command("ps", {
    summary: "List VMs",
    examples: [
      "substrate ps",
      "substrate ps --label 'match=17,tier!=free' --format json",
      "substrate ps --state parked --quiet",
    ],
  })
    .option("--label <selector>", 'as "match=17,tier!=free,region,!old,zone in (a, b)"')
    .addOption(new Option("--state <state>", "only those in this state").choices(VM_STATES.slice(0, 3)))
    .option("--substrate <name>", '"mini", of any version, or "mini@3"')
    .action(async ({ label, state, substrate }: { label?: string; state?: string; substrate?: string }) => {
      const pool = await cli.pool();
      await showVms(cli, await pool.list({ labels: label, state, substrate }));
    });
}

export function inspectCommand(cli: Cli): Command {
  return command("inspect", {
    summary: "Show all there is to know of VMs",
    examples: ["substrate inspect node-0", "substrate inspect node-0 node-1 --format json"],
  })
    .argument("<vm...>", "a name, an id, or a beginning of either that only one has")
    .action(async (names: readonly string[]) => {
      const pool = await cli.pool();
      const vms = await cli.each(names, async (name) => {
        const vm = await pool.find(name);
        return { ...vmRow(vm), memory: await vm.memory() };
      });
      const { format } = cli.out.options;
      if (format !== "table") return cli.out.text(records(vms, format));
      await cli.out.text(vms.map((vm) => sheet(shown(vm), cli.out.paint)).join("\n"));
    });
}

type Inspected = ReturnType<typeof vmRow> & { readonly memory: Awaited<ReturnType<RemoteVm["memory"]>> };

function shown(vm: Inspected): (readonly [string, string])[] {
  const { total, ...phases } = vm.timingsMs;
  const times = Object.entries(phases).map(([phase, ms]) => `${phase} ${formatDuration(ms)}`);
  return [
    ["name", vm.name],
    ["id", vm.id],
    ["state", vm.state],
    ["substrate", vm.substrate],
    ["path", vm.path],
    ["address", vm.address],
    ["address6", vm.address6 ?? ""],
    ["mac", vm.mac],
    ["machine id", vm.machineId],
    ["SSH host key", vm.sshHostKey],
    ["processors", String(vm.resources.cpus)],
    ["memory", `${vm.resources.memoryMiB} MiB, of which it takes ${formatBytes(vm.memory.pssBytes)}`],
    ["disk", `${vm.resources.diskMiB} MiB`],
    ["labels", labelsText(vm.labels)],
    ["created", vm.createdAt],
    ["expires", vm.expiresAt ?? "never"],
    ["QEMU", `process ${vm.pid}`],
    ["took", [`${formatDuration(total)} in all`, ...times].join(", ")],
  ];
}

/** `park` and `resume`, of several VMs. */
function powerCommand(cli: Cli, verb: "park" | "resume", summary: string): Command {
  return command(verb, { summary, examples: [`substrate ${verb} node-0`, `substrate ${verb} node-0 node-1`] })
    .argument("<vm...>")
    .action(async (names: readonly string[]) => {
      const pool = await cli.pool();
      const vms = await cli.each(names, async (name) => {
        const vm = await pool.find(name);
        await vm[verb]();
        return vm;
      });
      await showVms(cli, vms);
    });
}

export function parkCommand(cli: Cli): Command {
  return powerCommand(cli, "park", "Pause VMs; they keep memory, disk and identity");
}

export function resumeCommand(cli: Cli): Command {
  return powerCommand(cli, "resume", "Let parked VMs run again");
}

export function extendCommand(cli: Cli): Command {
  return command("extend", {
    summary: "Let a VM expire later",
    examples: ["substrate extend node-0 30m", "substrate extend node-0 1h30m"],
  })
    .argument("<vm>")
    .argument("<duration>", "from now, whatever was said before", duration)
    .action(async (name: string, ms: number) => {
      const pool = await cli.pool();
      const vm = await pool.find(name);
      await vm.extend(ms);
      await showVms(cli, [vm]);
    });
}

export function shrinkCommand(cli: Cli): Command {
  return command("shrink", {
    summary: "Take memory away that a VM was given at its claim",
    more: "While it runs. Memory goes by whole modules, so that it may keep more than it was told to.",
    examples: ["substrate shrink node-0 --memory-mib 512"],
  })
    .argument("<vm>")
    .requiredOption("--memory-mib <MiB>", "so much stays at least", whole)
    .action(async (name: string, { memoryMib: memoryMiB }: { memoryMib: number }) => {
      const pool = await cli.pool();
      const vm = await pool.find(name);
      const left = await vm.shrink({ memoryMiB, signal: cli.signal });
      cli.out.say(`${vm.hostname} has ${left.memoryMiB} MiB of memory`);
      await showVms(cli, [vm]);
    });
}

export function forkCommand(cli: Cli): Command {
  const made = command("fork", {
    summary: "Make further VMs out of one as it is now",
    more: "With its memory, running programs and disk, and names, addresses and keys of their own. The source stands still meanwhile, for a part of a second.",
    examples: ["substrate fork node-0 4", "substrate fork node-0 2 --label round=2 -- systemctl restart game"],
  })
    .argument("<vm>")
    .argument("<count>", "how many", whole)
    .argument("[command...]", "after --");
  return addNewVmOptions(made).action(
    async (name: string, count: number, argv: readonly string[], options: NewVmOptions) => {
      const pool = await cli.pool();
      const vm = await pool.find(name);
      cli.out.progress.show(`forking ${vm.hostname}`);
      await showMade(cli, await vm.fork(count, { ...(await newVmSpec(options, argv)), signal: cli.signal }));
    },
  );
}

export function freezeCommand(cli: Cli): Command {
  return command("freeze", {
    summary: "Make a substrate of a VM as it is now; the VM goes on",
    examples: ["substrate freeze node-0 --name level-3"],
  })
    .argument("<vm>")
    .requiredOption("--name <name>", "the substrate's name")
    .action(async (name: string, options: { readonly name: string }) => {
      const pool = await cli.pool();
      const vm = await pool.find(name);
      const frozen = await vm.freeze({
        name: options.name,
        signal: cli.signal,
        onProgress: ({ step, message }) => cli.out.progress.show(`freezing ${vm.hostname}: ${step}: ${message}`),
      });
      await cli.out.list(
        [frozen],
        [
          { head: "NAME", of: (one) => one.name },
          { head: "VERSION", of: ({ version }) => String(version) },
        ],
        (one) => `${one.name}@${one.version}`,
      );
    });
}
