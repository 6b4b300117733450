import { resolve } from "node:path";
import type { Command } from "commander";
import type { ArchiveProgress, SubstrateVersion } from "../../lib/index.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { showSubstrates } from "../substrate-rows.ts";
import { formatBytes } from "../units.ts";
import { whole } from "../values.ts";

export function lsCommand(cli: Cli): Command {
  return command("ls", {
    summary: "List substrates",
    examples: ["substrate ls", "substrate ls --format json", "substrate ls --quiet"],
  }).action(async () => {
    const pool = await cli.pool();
    await showSubstrates(cli, await pool.substrates());
  });
}

export function rmCommand(cli: Cli): Command {
  return command("rm", {
    summary: "Remove a substrate",
    more: "One version (mini@3), or by the bare name all of them. What something uses is refused.",
    examples: ["substrate rm mini@1", "substrate rm web"],
  })
    .argument("<substrate...>")
    .action(async (names: readonly string[]) => {
      const pool = await cli.pool();
      const removed = await cli.each(names, (name) => pool.removeSubstrate(name, { signal: cli.signal }));
      await showVersions(cli, removed.flat());
    });
}

export function pruneCommand(cli: Cli): Command {
  return command("prune", {
    summary: "Remove old versions that nothing uses",
    examples: ["substrate prune --keep 2"],
  })
    .requiredOption("--keep <count>", "how many of the newest versions of each name stay in any case", whole)
    .action(async ({ keep }: { readonly keep: number }) => {
      const pool = await cli.pool();
      const { removed, inUse } = await pool.pruneSubstrates({ keep, signal: cli.signal });
      for (const { name, version, users } of inUse) {
        const by = users.map(({ kind, id }) => (id === undefined ? kind : `${kind} ${id}`)).join(", ");
        cli.out.say(`${name}@${version} stays: in use by ${by}`);
      }
      await showVersions(cli, removed);
    });
}

export function scrubCommand(cli: Cli): Command {
  return command("scrub", {
    summary: "Read every file of every substrate and compare it with its digest",
    more: "Exit status 1 when one is damaged.",
    examples: ["substrate scrub", "substrate scrub --max-mib-per-second 50"],
  })
    .option("--max-mib-per-second <MiB>", "how much is read, on average", whole)
    .action(async ({ maxMibPerSecond }: { readonly maxMibPerSecond?: number }) => {
      const pool = await cli.pool();
      const report = await pool.scrubSubstrates({
        ...(maxMibPerSecond === undefined ? {} : { maxMiBPerSecond: maxMibPerSecond }),
        signal: cli.signal,
        onProgress: ({ name, version }) => cli.out.progress.show(`read ${name}@${version}`),
      });
      if (report.damaged > 0) cli.exitCode = 1;
      await cli.out.list(
        report.substrates,
        [
          { head: "SUBSTRATE", of: ({ name, version }) => `${name}@${version}` },
          { head: "STATE", of: ({ state }) => state },
          { head: "READ", align: "right", of: ({ bytes }) => formatBytes(bytes) },
          { head: "DAMAGE", of: ({ damage }) => damage.map(({ file, reason }) => `${file}: ${reason}`).join("; ") },
        ],
        ({ name, version }) => `${name}@${version}`,
      );
    });
}

export function exportCommand(cli: Cli): Command {
  return command("export", {
    summary: "Write a substrate into one file",
    examples: ["substrate export mini mini.tar.zst", "substrate export mini@2 /backup/mini-2.tar.zst"],
  })
    .argument("<substrate>")
    .argument("<file>", "on the daemon's machine, which is this one")
    .action(async (name: string, file: string) => {
      const pool = await cli.pool();
      const onProgress = showArchive(cli, `exporting ${name}`);
      const exported = await pool.exportSubstrate(name, resolve(file), { signal: cli.signal, onProgress });
      await cli.out.one(exported, [
        ["substrate", `${exported.name}@${exported.version}`],
        ["file", exported.file],
        ["size", formatBytes(exported.sizeBytes)],
      ]);
    });
}

export function importCommand(cli: Cli): Command {
  return command("import", {
    summary: "Take a substrate from a file into the catalog",
    more: "It is verified before it can be seen. Import only what you trust: digests do not show who made it.",
    examples: ["substrate import mini.tar.zst", "substrate import mini.tar.zst --name copied"],
  })
    .argument("<file>", "on the daemon's machine, which is this one")
    .option("--name <name>", "the substrate's name; default the one that it was exported with")
    .action(async (file: string, { name }: { readonly name?: string }) => {
      const pool = await cli.pool();
      const onProgress = showArchive(cli, "importing");
      const given = name === undefined ? {} : { name };
      const imported = await pool.importSubstrate(resolve(file), { ...given, signal: cli.signal, onProgress });
      if (imported.reused) cli.out.say(`${imported.name}@${imported.version} was there, with the same content`);
      await showSubstrates(cli, [imported]);
    });
}

async function showVersions(cli: Cli, versions: readonly SubstrateVersion[]): Promise<void> {
  const columns = [
    { head: "REMOVED", of: ({ name }: SubstrateVersion) => name },
    { head: "VERSION", of: ({ version }: SubstrateVersion) => String(version) },
  ];
  await cli.out.list(versions, columns, ({ name, version }) => `${name}@${version}`);
}

function showArchive(cli: Cli, what: string): (progress: ArchiveProgress) => void {
  return ({ file, bytes, totalBytes }) =>
    cli.out.progress.show(`${what}: ${file}, ${formatBytes(bytes)} of ${formatBytes(totalBytes)}`);
}
