import { mkdir, readFile, writeFile } from "node:fs/promises";
import { availableParallelism, loadavg, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import type { SubstrateInfo } from "vm-substrate";
import { ROWS, type SampleSummary } from "./samples.ts";
import type { Summary } from "./statistics.ts";

export interface Machine {
  readonly cpu: string;
  readonly processors: number;
  readonly memoryGiB: number;
  readonly node: string;
  readonly kernel: string;
  /** Of the last minute, when it was described: above 0.5 before a run, it was not idle. */
  readonly loadAverage: number;
}

export async function describeMachine(): Promise<Machine> {
  const cpuinfo = await readFile("/proc/cpuinfo", "utf8");
  return {
    cpu: /^model name\s*: (.*)$/m.exec(cpuinfo)?.[1] ?? "unknown",
    processors: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.versions.node,
    kernel: (await readFile("/proc/sys/kernel/osrelease", "utf8")).trim(),
    loadAverage: loadavg()[0] ?? 0,
  };
}

/** The conditions that every report begins with. `machine` is described before the run. */
export function conditions(machine: Machine, substrate: SubstrateInfo): string {
  const mib = (bytes: number) => Math.round(bytes / 1024 / 1024);
  return `${machine.cpu}, ${machine.processors} processors, ${machine.memoryGiB} GiB, Linux ${machine.kernel}, Node ${machine.node}, load
average ${machine.loadAverage.toFixed(1)} before the run; QEMU ${substrate.qemu}, ${substrate.accelerator}; substrate ${substrate.name} ${substrate.version},
${mib(substrate.memory.assignedBytes)} MiB assigned, ${mib(substrate.memory.residentBytes)} MiB in its RAM file.`;
}

/** Writes bench/results/NAME.json and NAME.md. */
export async function writeResults(name: string, json: unknown, markdown: string): Promise<void> {
  const dir = fileURLToPath(new URL("results/", import.meta.url));
  await mkdir(dir, { recursive: true });
  await writeFile(`${dir}${name}.json`, `${JSON.stringify(json, round, 2)}\n`);
  await writeFile(`${dir}${name}.md`, markdown);
  console.error(`written: bench/results/${name}.json and ${name}.md`);
}

/** Writes docs/NAME.svg. */
export async function writeChart(name: string, svg: string): Promise<void> {
  await writeFile(fileURLToPath(new URL(`../docs/${name}.svg`, import.meta.url)), svg);
  console.error(`written: docs/${name}.svg`);
}

function round(_key: string, value: unknown): unknown {
  return typeof value === "number" ? Math.round(value * 100) / 100 : value;
}

export function markdownTable(header: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[]) => `| ${cells.map(cell).join(" | ")} |`;
  return [line(header), line(header.map(() => "---")), ...rows.map(line)].join("\n");
}

function cell(value: string | number): string {
  if (typeof value === "string") return value;
  return Number.isNaN(value) ? "failed" : String(Math.round(value * 10) / 10);
}

/** One row a summary; with `base`, also how many times less its median is than that one's. */
export function summaryTable(rows: Readonly<Record<string, Summary>>, base?: string): string {
  const of = base === undefined ? undefined : rows[base];
  const header = ["", "n", "p50", "p95", "p99", "min", "max", ...(of === undefined ? [] : [`${base} / this`])];
  const line = ([name, { n, p50, p95, p99, min, max }]: [string, Summary]) => [
    name,
    n,
    p50,
    p95,
    p99,
    min,
    max,
    ...(of === undefined ? [] : [(of.p50 / p50).toFixed(1)]),
  ];
  return markdownTable(header, Object.entries(rows).map(line));
}

/** Medians, a column a kind. */
export function phaseTable(kinds: Readonly<Record<string, SampleSummary>>): string {
  const names = Object.keys(kinds);
  const rows = ROWS.map((row) => [row, ...names.map((kind) => kinds[kind]?.phasesMs[row]?.p50 ?? 0)]);
  return markdownTable(["phase, p50", ...names], rows);
}
