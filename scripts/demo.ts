import { parseArgs } from "node:util";
import { type ActivateSpec, isVmSubstrateError, Pool, type Vm } from "vm-substrate";
import { type DemoResult, type DemoVm, printResult } from "./demo-report.ts";
import { StatusLine } from "./status-line.ts";

const HELP = `scripts/demo: a substrate from Debian's packages, cloned into personal, running VMs

  scripts/demo [--count N] [--json]

  --count N  how many VMs (default 4)
  --json     one JSON object on stdout instead of the picture
  --help     this text

Nothing keeps running and nothing stays in memory; the substrate itself is kept, so the next run starts at once.
Exit status: 0, or 1 when something failed or the VMs were not all different and reachable; 2 for wrong
arguments; 130 after Ctrl-C.`;

const SUBSTRATE = "mini";
const RANDOM_BYTES = 16;
/** As many as the demo's subnet has host addresses. */
const MAX_COUNT = 254;

let interrupts = 0;

async function main(): Promise<number> {
  const values = commandLine();
  if (values === undefined) return 2;
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  const stopping = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop(stopping));
  using status = new StatusLine(process.stderr);
  try {
    const result = await runDemo(values.count, stopping.signal, status);
    status.clear();
    if (values.json) console.log(JSON.stringify(result));
    else printResult(result, process.stdout);
    return result.unique && result.reachable ? 0 : 1;
  } catch (error) {
    status.clear();
    if (stopping.signal.aborted) {
      console.error("stopped; nothing is left behind");
      return 130;
    }
    if (!isVmSubstrateError(error)) throw error;
    console.error(`${error.code}: ${error.message}`);
    return 1;
  }
}

/** @returns undefined when it is wrong, which has been said then */
function commandLine() {
  try {
    const { values } = parseArgs({
      options: { count: { type: "string", default: "4" }, json: { type: "boolean" }, help: { type: "boolean" } },
    });
    const count = Number(values.count);
    if (!Number.isInteger(count) || count < 1 || count > MAX_COUNT) {
      throw new Error(`--count ${values.count}: expected a whole number from 1 to ${MAX_COUNT}`);
    }
    return { ...values, count };
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`);
    return undefined;
  }
}

/** A second Ctrl-C must not cut the cleaning up short; a third may. */
function stop(stopping: AbortController): void {
  interrupts++;
  if (interrupts === 2) console.error("cleaning up; once more to leave at once");
  if (interrupts > 2) process.exit(130);
  stopping.abort();
}

async function runDemo(count: number, signal: AbortSignal, status: StatusLine): Promise<DemoResult> {
  await using pool = await Pool.open();
  const substrate = await pool.build({
    recipe: SUBSTRATE,
    signal,
    onProgress: ({ step, message }) => status.show(`substrate ${SUBSTRATE}: ${step}: ${message}`),
  });

  const spec: ActivateSpec = {
    substrate: SUBSTRATE,
    hostname: "node-{index}",
    network: { fabric: "mcast", subnet: "10.77.0.0/24" },
  };
  status.show("cold boot of the same disk, to compare with");
  const [booted] = await pool.coldBoot(1, spec, { signal });
  const coldBootMs = booted?.timings.totalMs ?? 0;
  await booted?.release();

  status.show(`activating ${count} VMs`);
  const startedAt = performance.now();
  const vms = await pool.activate(count, spec, { signal });
  const activateMs = performance.now() - startedAt;
  const randomBytes = await Promise.all(vms.map((vm) => readRandom(vm, signal)));
  status.show("each VM pings every other");
  const reachable = await everyPairReaches(vms, signal);

  const shown = vms.map((vm, i): DemoVm => ({ ...describe(vm), randomBytes: randomBytes[i] ?? "" }));
  return {
    substrate,
    vms: shown,
    coldBootMs,
    activateMs,
    ratio: coldBootMs / median(shown.map((vm) => vm.totalMs - (vm.phasesMs.wait ?? 0))),
    unique: allDiffer(shown),
    reachable,
  };
}

function describe(vm: Vm): Omit<DemoVm, "randomBytes"> {
  const { hostname, address, mac, machineId, sshHostKey, timings } = vm;
  return { hostname, address, mac, machineId, sshHostKey, phasesMs: timings.phasesMs, totalMs: timings.totalMs };
}

/** The first thing after hand-over: clones that were not reseeded would all give the same. */
async function readRandom(vm: Vm, signal: AbortSignal): Promise<string> {
  const { stdoutBytes } = await vm.exec(["head", "-c", String(RANDOM_BYTES), "/dev/urandom"], { signal });
  return Buffer.from(stdoutBytes).toString("hex");
}

async function everyPairReaches(vms: readonly Vm[], signal: AbortSignal): Promise<boolean> {
  const reached = await Promise.all(
    vms.map(async (from) => {
      for (const to of vms.filter((other) => other !== from)) {
        const { exitCode } = await from.exec(["ping", "-c", "1", "-W", "5", to.address], { signal });
        if (exitCode !== 0) return false;
      }
      return true;
    }),
  );
  return !reached.includes(false);
}

function allDiffer(vms: readonly DemoVm[]): boolean {
  const parts = ["hostname", "address", "mac", "machineId", "sshHostKey", "randomBytes"] as const;
  return parts.every((part) => new Set(vms.map((vm) => vm[part])).size === vms.length);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

process.exitCode = await main();
