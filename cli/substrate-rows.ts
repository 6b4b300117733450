import type { SubstrateInfo } from "../lib/index.ts";
import type { Cli } from "./cli.ts";
import { formatBytes, formatDuration } from "./units.ts";

export async function showSubstrates(cli: Cli, substrates: readonly SubstrateInfo[]): Promise<void> {
  await cli.out.list(
    substrates,
    [
      { head: "NAME", of: ({ name }) => name },
      { head: "VERSION", align: "right", of: ({ version }) => String(version) },
      { head: "RECIPE", of: ({ recipe }) => recipe },
      { head: "ACCELERATOR", of: ({ accelerator }) => accelerator },
      { head: "MEMORY", align: "right", of: ({ memory }) => formatBytes(memory.assignedBytes) },
      { head: "RESIDENT", align: "right", of: ({ memory }) => formatBytes(memory.residentBytes) },
      {
        head: "AGE",
        align: "right",
        of: ({ createdAt }) => formatDuration(Math.max(0, Date.now() - Date.parse(createdAt))),
      },
    ],
    ({ name, version }) => `${name}@${version}`,
  );
}
