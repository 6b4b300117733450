import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { Agent, request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Pool } from "vm-substrate";
import { connect, type RemotePool } from "vm-substrate/client";
import { type Context, check, openPool, progress, SPEC, SUBSTRATE, TEMPLATE } from "./context.ts";
import { type Soak, soak, soakChart, soakReport } from "./daemon-soak.ts";
import { conditions, describeMachine, summaryTable, writeChart, writeResults } from "./results.ts";
import { type Summary, summarize } from "./statistics.ts";

const DOCK_DEPTH = 8;
const READY_TIMEOUT_MS = 600_000;
const STOP_TIMEOUT_MS = 30_000;

export interface DaemonOptions {
  /** Claims of each kind. */
  readonly claims: number;
  /** Of the soak; none with 0. */
  readonly minutes: number;
  readonly claimsPerMinute: number;
}

/** Claims through a daemon beside claims in this process, in turn; then many of them, for long. */
export async function benchDaemon(options: DaemonOptions, context: Context): Promise<void> {
  const machine = await describeMachine();
  await using undo = new AsyncDisposableStack();
  const { pool, substrate } = undo.use(await openPool(context));
  const daemon = await startDaemon(undo);
  const remote = undo.use(await connect({ stateDir: daemon.stateDir }));
  await moveSubstrate(pool, remote, daemon.stateDir);
  const claims = await claimsOf(pool, remote, daemon.socket, options.claims, context);
  await pool.undock(SUBSTRATE);
  const soaked =
    options.minutes === 0 ? undefined : await soak(remote, { ...options, ...daemon, depth: DOCK_DEPTH }, context);
  await writeResults(
    "daemon",
    { date: new Date().toISOString(), machine, substrate, options, claims, soak: soaked },
    report(conditions(machine, substrate), claims, soaked),
  );
  if (soaked !== undefined) await writeChart("daemon", soakChart(soaked));
  check(soaked?.verdict.grows !== true, "the daemon grows; the report says by how much");
}

interface Claims {
  /** Around the caller's `await`. */
  readonly wallMs: Readonly<Record<string, Summary>>;
  /** What of it is not the pool's own account of the activation. */
  readonly aroundMs: Readonly<Record<string, Summary>>;
  readonly overheadMs: { readonly client: number; readonly http: number };
}

async function startDaemon(undo: AsyncDisposableStack) {
  const stateDir = await mkdtemp(join(tmpdir(), "bench-daemon-"));
  undo.defer(() => rm(stateDir, { recursive: true, force: true }));
  const program = fileURLToPath(new URL("daemon-process.ts", import.meta.url));
  const config = JSON.stringify({ stateDir, log: { level: "warn" } });
  const child = spawn(process.execPath, ["--expose-gc", ...profiling(), program, config], {
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  undo.defer(() => stopDaemon(child));
  for await (const line of child.stdout ?? []) {
    const { socket } = JSON.parse(String(line)) as { socket: string };
    return { stateDir, socket, pid: child.pid ?? 0, heldBytes: () => heldBytes(child) };
  }
  throw new Error("bench: the daemon ended before it listened");
}

/** What the daemon's objects take, after a collection. */
async function heldBytes(child: ChildProcess): Promise<number> {
  const answer = once(child, "message");
  child.send("collect");
  const [bytes] = (await answer) as [number];
  return bytes;
}

/** With DAEMON_PROFILE=DIR a profile of the daemon's processor time is written there when it ends. */
function profiling(): string[] {
  const dir = process.env.DAEMON_PROFILE;
  return dir === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${dir}`];
}

async function stopDaemon(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
  child.kill("SIGTERM");
  await once(child, "exit");
  clearTimeout(timer);
}

/** The very substrate that this process has. */
async function moveSubstrate(pool: Pool, remote: RemotePool, dir: string): Promise<void> {
  const file = join(dir, "moved.tar.zst");
  await pool.exportSubstrate(SUBSTRATE, file);
  await remote.importSubstrate(file);
  await rm(file);
}

async function claimsOf(pool: Pool, remote: RemotePool, socket: string, count: number, { signal }: Context) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const kinds: Readonly<Record<string, () => Promise<{ readonly totalMs: number; release(): Promise<void> }>>> = {
    embedded: async () => claimBy(pool),
    client: async () => claimBy(remote),
    http: () => claimByHttp(socket, agent),
  };
  const wall: Record<string, number[]> = { embedded: [], client: [], http: [] };
  const around: Record<string, number[]> = { embedded: [], client: [], http: [] };
  for (const one of [pool, remote]) await one.dock(SUBSTRATE, { min: DOCK_DEPTH, max: DOCK_DEPTH, ...TEMPLATE });
  for (let i = -1; i < count; i++) {
    for (const [name, claim] of Object.entries(kinds)) {
      // Both docks are full and at rest before each claim, so that no refill is measured.
      for (const one of [pool, remote]) {
        await one.docked(SUBSTRATE, { count: DOCK_DEPTH, timeoutMs: READY_TIMEOUT_MS, signal });
      }
      const startedAt = performance.now();
      const vm = await claim();
      const wallMs = performance.now() - startedAt;
      // The first of each kind runs code for the first time.
      if (i >= 0) {
        wall[name]?.push(wallMs);
        around[name]?.push(wallMs - vm.totalMs);
      }
      await vm.release();
    }
    if (i % 20 === 0) progress(`claims: ${i} of ${count}`);
  }
  agent.destroy();
  await remote.undock(SUBSTRATE);
  const wallMs = summaries(wall);
  const p50 = (name: string) => wallMs[name]?.p50 ?? Number.NaN;
  const overheadMs = { client: p50("client") - p50("embedded"), http: p50("http") - p50("embedded") };
  progress(`overhead, p50: client ${overheadMs.client.toFixed(2)} ms, HTTP ${overheadMs.http.toFixed(2)} ms`);
  return { wallMs, aroundMs: summaries(around), overheadMs } satisfies Claims;
}

function summaries(samples: Readonly<Record<string, readonly number[]>>): Record<string, Summary> {
  return Object.fromEntries(Object.entries(samples).map(([name, values]) => [name, summarize(values)]));
}

async function claimBy(pool: Pick<RemotePool, "activate"> | Pool) {
  const [vm] = await pool.activate(1, SPEC);
  check(vm?.origin === "docked", `the VM is ${vm?.origin}`);
  return { totalMs: vm.timings.totalMs, release: () => vm.release() };
}

interface Answered {
  readonly outcomes: readonly {
    readonly vm: { readonly id: string; readonly timings: { readonly totalMs: number } };
  }[];
}

async function claimByHttp(socketPath: string, agent: Agent) {
  const send = (method: string, path: string, body = "") =>
    new Promise<string>((resolve, reject) => {
      const headers = body === "" ? {} : { "content-type": "application/json" };
      const request = httpRequest({ socketPath, agent, method, path, headers });
      request.once("error", reject).once("response", (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => {
          text += chunk;
        });
        response.once("end", () => resolve(text)).once("error", reject);
      });
      request.end(body);
    });
  const { outcomes } = JSON.parse(await send("POST", "/v1/vms", JSON.stringify({ spec: SPEC }))) as Answered;
  const { id, timings } = outcomes[0]?.vm ?? { id: "", timings: { totalMs: Number.NaN } };
  return { totalMs: timings.totalMs, release: async () => void (await send("DELETE", `/v1/vms/${id}`)) };
}

function report(about: string, { wallMs, aroundMs, overheadMs }: Claims, soaked: Soak | undefined): string {
  return `# The daemon

${about}

## One claim at a time

A dock of ${DOCK_DEPTH} primed clones in this process's pool and one in a daemon's, another process of the same machine, both full and at
rest before each claim; the three kinds in turn. Milliseconds around the caller's \`await\`. \`http\` is one request over a connection that
is kept, with no client's help.

${summaryTable(wallMs, "embedded")}

What of it is not the pool's own time for the activation (\`vm.timings.totalMs\`):

${summaryTable(aroundMs)}

A claim through the daemon takes ${overheadMs.client.toFixed(2)} ms more by the client, and ${overheadMs.http.toFixed(2)} ms more by HTTP (medians).
${soaked === undefined ? "" : `\n${soakReport(soaked)}`}`;
}
