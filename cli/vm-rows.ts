import type { RemoteVm } from "../client/index.ts";
import type { Cli } from "./cli.ts";
import type { Column } from "./output/table.ts";
import { formatDuration } from "./units.ts";

/** A VM as programs get it. */
export function vmRow(vm: RemoteVm) {
  return {
    id: vm.id,
    name: vm.hostname,
    hostname: vm.hostname,
    address: vm.address,
    address6: vm.address6 ?? null,
    mac: vm.mac,
    substrate: `${vm.substrate.name}@${vm.substrate.version}`,
    state: vm.state,
    path: vm.origin,
    labels: vm.labels,
    resources: vm.resources,
    createdAt: vm.createdAt.toISOString(),
    expiresAt: vm.expiresAt?.toISOString() ?? null,
    machineId: vm.machineId,
    sshHostKey: vm.sshHostKey,
    pid: vm.pid,
    timingsMs: { total: vm.timings.totalMs, ...vm.timings.phasesMs },
  };
}
type VmRow = ReturnType<typeof vmRow>;

export function labelsText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
}

const NAMED: readonly Column<VmRow>[] = [
  { head: "NAME", of: ({ name }) => name },
  { head: "ID", of: ({ id }) => id },
  { head: "ADDRESS", of: ({ address }) => address },
];

const LISTED: readonly Column<VmRow>[] = [
  ...NAMED,
  { head: "SUBSTRATE", of: ({ substrate }) => substrate },
  { head: "STATE", of: ({ state }) => state },
  { head: "AGE", align: "right", of: ({ createdAt }) => sinceNow(createdAt) },
  { head: "EXPIRES", align: "right", of: ({ expiresAt }) => (expiresAt === null ? "" : untilNow(expiresAt)) },
  { head: "LABELS", of: ({ labels }) => labelsText(labels) },
];

const MADE: readonly Column<VmRow>[] = [
  ...NAMED,
  { head: "MAC", of: ({ mac }) => mac },
  { head: "SUBSTRATE", of: ({ substrate }) => substrate },
  { head: "PATH", of: ({ path }) => path },
  { head: "TIME", align: "right", of: ({ timingsMs }) => formatDuration(timingsMs.total) },
];

/** VMs that are there. */
export async function showVms(cli: Cli, vms: readonly RemoteVm[]): Promise<void> {
  if (vms.length === 0 && cli.exitCode !== 0) return; // why there are none was said
  await cli.out.list(vms.map(vmRow), LISTED, ({ id }) => id);
}

/** VMs that a command has made. */
export async function showMade(cli: Cli, vms: readonly RemoteVm[]): Promise<void> {
  await cli.out.list(vms.map(vmRow), MADE, ({ id }) => id);
}

function sinceNow(time: string): string {
  return formatDuration(Math.max(0, Date.now() - Date.parse(time)));
}

function untilNow(time: string): string {
  const ms = Date.parse(time) - Date.now();
  return ms <= 0 ? "now" : formatDuration(ms);
}
