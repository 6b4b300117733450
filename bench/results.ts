import { mkdir, readFile, writeFile } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import { fileURLToPath } from "node:url";

export interface Machine {
  readonly cpu: string;
  readonly processors: number;
  readonly memoryGiB: number;
  readonly node: string;
  readonly kernel: string;
}

export async function describeMachine(): Promise<Machine> {
  const cpuinfo = await readFile("/proc/cpuinfo", "utf8");
  return {
    cpu: /^model name\s*: (.*)$/m.exec(cpuinfo)?.[1] ?? "unknown",
    processors: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.versions.node,
    kernel: (await readFile("/proc/sys/kernel/osrelease", "utf8")).trim(),
  };
}

/** Writes bench/results/NAME.json and NAME.md. */
export async function writeResults(name: string, json: unknown, markdown: string): Promise<void> {
  const dir = fileURLToPath(new URL("results/", import.meta.url));
  await mkdir(dir, { recursive: true });
  await writeFile(`${dir}${name}.json`, `${JSON.stringify(json, round, 2)}\n`);
  await writeFile(`${dir}${name}.md`, markdown);
}

function round(_key: string, value: unknown): unknown {
  return typeof value === "number" ? Math.round(value * 100) / 100 : value;
}

export function markdownTable(header: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[]) => `| ${cells.map(cell).join(" | ")} |`;
  return [line(header), line(header.map(() => "---")), ...rows.map(line)].join("\n");
}

function cell(value: string | number): string {
  return typeof value === "number" ? String(Math.round(value * 10) / 10) : value;
}
