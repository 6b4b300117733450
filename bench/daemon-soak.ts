import { readdir, readFile, readlink } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { RemotePool } from "vm-substrate/client";
import { lineChart } from "./chart.ts";
import { type Context, MIB, progress, SPEC, SUBSTRATE, TEMPLATE } from "./context.ts";
import { markdownTable } from "./results.ts";
import { type Summary, summarize } from "./statistics.ts";

const SAMPLE_MS = 5000;
/** Each is a collection, which claims have to wait for: so many samples have none between two that have. */
const SAMPLES_PER_COLLECTION = 6;
const READY_TIMEOUT_MS = 600_000;
/**
 * Beyond that it grows: in the second half, when what is kept in bounded number has reached its bound. Less is the difference that is
 * made by what is under way at the moment of a look: single looks of one run have differed by 10 MiB.
 */
const MAX_MIB_PER_1000_CLAIMS = 3;
/** More at rest after all claims than before them is a leak; while they run, as many are open as VMs and connections need. */
const MAX_MORE_DESCRIPTORS = 2;
/** For VMs that were docked to end. */
const REST_MS = 10_000;
/** Fewer claims show noise. */
const MIN_CLAIMS_OF_VERDICT = 1000;

export interface SoakOptions {
  readonly minutes: number;
  readonly claimsPerMinute: number;
  readonly depth: number;
  readonly socket: string;
  readonly pid: number;
  /** What the daemon's objects take after a collection: its RSS rises until the engine cares to collect. */
  readonly heldBytes: () => Promise<number>;
}

interface SoakSample {
  readonly seconds: number;
  readonly claims: number;
  readonly rssMiB: number;
  /** After a collection; not of every sample. */
  readonly heldMiB: number | undefined;
  readonly descriptors: number;
  readonly loopP99Ms: number;
  /** Of the claims since the sample before. */
  readonly claimMs: Summary;
}

export interface Soak {
  readonly claims: number;
  readonly fromDock: number;
  readonly failures: number;
  readonly seconds: number;
  readonly claimMs: Summary;
  readonly samples: readonly SoakSample[];
  readonly verdict: {
    /** Undefined after too few claims. */
    readonly grows: boolean | undefined;
    readonly mibPer1000Claims: number;
    /** With no VM and no dock, its clients' connections not counted: before the first claim, and after the last. */
    readonly descriptors: { readonly before: number; readonly after: number };
  };
}

/** Claims and releases at one pace. One that takes long delays no other: each is begun when its time has come. */
export async function soak(pool: RemotePool, options: SoakOptions, { signal }: Context): Promise<Soak> {
  const { minutes, claimsPerMinute, depth, pid, socket, heldBytes } = options;
  const fill = async () => {
    await pool.dock(SUBSTRATE, { min: depth, max: 4 * depth, ...TEMPLATE });
    await pool.docked(SUBSTRATE, { count: depth, timeoutMs: READY_TIMEOUT_MS, signal });
  };
  const descriptorsAtRest = async () => {
    await pool.undock(SUBSTRATE);
    await delay(REST_MS, undefined, { signal });
    return withoutClients(pid, socket);
  };
  await fill(); // once before it is counted: what is opened for the first VM is kept
  const before = await descriptorsAtRest();
  await fill();
  const [all, samples, under]: [number[], SoakSample[], Set<Promise<void>>] = [[], [], new Set()];
  let [recent, fromDock, failures]: [number[], number, number] = [[], 0, 0];
  const claim = async () => {
    const startedAt = performance.now();
    try {
      const [vm] = await pool.activate(1, SPEC, { signal });
      const tookMs = performance.now() - startedAt;
      all.push(tookMs);
      recent.push(tookMs);
      if (vm?.origin === "docked") fromDock++;
      await vm?.release();
    } catch {
      signal.throwIfAborted();
      failures++;
    }
  };
  const startedAt = performance.now();
  let nextSampleMs = SAMPLE_MS;
  const total = Math.round(minutes * claimsPerMinute);
  for (let i = 0; i < total; i++) {
    const dueMs = (i * 60_000) / claimsPerMinute;
    await delay(Math.max(0, dueMs - (performance.now() - startedAt)), undefined, { signal });
    const claiming = claim().finally(() => under.delete(claiming));
    under.add(claiming);
    if (performance.now() - startedAt >= nextSampleMs) {
      nextSampleMs += SAMPLE_MS;
      const ofWindow = recent;
      recent = [];
      const seconds = Math.round((performance.now() - startedAt) / 1000);
      const looked = await look(pid, socket);
      const heldMiB = samples.length % SAMPLES_PER_COLLECTION === 0 ? (await heldBytes()) / MIB : undefined;
      const claimMs = summarize(ofWindow);
      samples.push({ seconds, claims: all.length, ...looked, heldMiB, claimMs });
      const held = heldMiB === undefined ? "" : `, ${heldMiB.toFixed(1)} MiB held`;
      progress(
        `${seconds} s: ${looked.rssMiB.toFixed(0)} MiB${held}, ${looked.descriptors} descriptors, claims p99 ${claimMs.p99.toFixed(1)} ms`,
      );
    }
  }
  await Promise.all(under);
  const after = await descriptorsAtRest();
  return {
    claims: all.length,
    fromDock,
    failures,
    seconds: Math.round((performance.now() - startedAt) / 1000),
    claimMs: summarize(all),
    samples,
    verdict: verdictOf(samples, all.length, { before, after }),
  };
}

type Verdict = Soak["verdict"];

/** Pure. */
function verdictOf(samples: readonly SoakSample[], claims: number, descriptors: Verdict["descriptors"]): Verdict {
  const held = samples
    .slice(Math.floor(samples.length / 2))
    .flatMap((one) => (one.heldMiB === undefined ? [] : [[one.claims, one.heldMiB] as const]));
  const mibPer1000Claims = 1000 * slope(held);
  const isMore = descriptors.after > descriptors.before + MAX_MORE_DESCRIPTORS;
  const grows = claims < MIN_CLAIMS_OF_VERDICT ? undefined : isMore || mibPer1000Claims > MAX_MIB_PER_1000_CLAIMS;
  return { grows, mibPer1000Claims, descriptors };
}

async function look(pid: number, socket: string) {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const metrics = await scrape(socket);
  return {
    rssMiB: (Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024) / MIB,
    descriptors: (await readdir(`/proc/${pid}/fd`)).length,
    loopP99Ms: 1000 * Number(/^vm_substrate_nodejs_eventloop_lag_p99_seconds ([\d.e-]+)$/m.exec(metrics)?.[1]),
  };
}

/** A client keeps as many connections as it once had requests under way. */
async function withoutClients(pid: number, socket: string): Promise<number> {
  const dir = `/proc/${pid}/fd`;
  const targets = await Promise.all(
    (await readdir(dir)).map((name) => readlink(join(dir, name)).catch(() => undefined)),
  );
  const sockets = (await readFile("/proc/net/unix", "utf8")).split("\n").filter((line) => line.endsWith(` ${socket}`));
  const connections = new Set(sockets.map((line) => `socket:[${line.split(/\s+/)[6]}]`));
  return targets.filter((target) => target !== undefined && !connections.has(target)).length;
}

function scrape(socketPath: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath, path: "/metrics", agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      response.once("end", () => resolve(text));
    });
    request.once("error", reject).end();
  });
}

/** Of the line that fits best (least squares); 0 of a single point. */
function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (of: 0 | 1) => points.reduce((sum, point) => sum + point[of], 0) / points.length;
  const [meanX, meanY] = [mean(0), mean(1)];
  const spread = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  return spread === 0 ? 0 : points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0) / spread;
}

export function soakReport({ claims, fromDock, failures, seconds, claimMs, samples, verdict }: Soak): string {
  const rows = samples.map((one) => [
    String(one.seconds),
    one.claims,
    one.rssMiB,
    one.heldMiB ?? "",
    one.descriptors,
    one.loopP99Ms,
    one.claimMs.p50,
    one.claimMs.p99,
  ]);
  const header = [
    "second",
    "claims",
    "RSS, MiB",
    "held, MiB",
    "descriptors",
    "loop delay p99, ms",
    "claims p50, ms",
    "p99, ms",
  ];
  return `## For long

${claims} claims and releases in ${seconds} s by the client, ${fromDock} from the dock, ${failures} failed; p50 ${claimMs.p50.toFixed(1)} ms, p99
${claimMs.p99.toFixed(1)} ms ([plot](../../docs/daemon.svg)). \`held\` is what the daemon's objects take after a
collection. In the second half that changed by ${verdict.mibPer1000Claims.toFixed(2)} MiB for each 1000 claims. With no VM and no dock, and
without its clients' connections, it had ${verdict.descriptors.before} descriptors open before the first claim, and ${verdict.descriptors.after} after the last: it ${verdict.grows === undefined ? "was not run for long enough to tell" : verdict.grows ? "grows" : "does not grow"}.

${markdownTable(header, rows)}
`;
}

export function soakChart({ samples }: Soak): string {
  const line = (name: string, of: (one: SoakSample) => number) => ({
    name,
    points: samples.map((one) => [one.seconds, of(one)] as const),
  });
  return lineChart(
    "A daemon under steady claims",
    "seconds",
    [
      {
        title: "Daemon's memory, MiB",
        series: [
          line("RSS", ({ rssMiB }) => rssMiB),
          {
            name: "held",
            points: samples.flatMap((one) => (one.heldMiB === undefined ? [] : [[one.seconds, one.heldMiB] as const])),
          },
        ],
      },
      { title: "Open descriptors", series: [line("descriptors", ({ descriptors }) => descriptors)] },
      { title: "Event loop's delay, ms", series: [line("p99", ({ loopP99Ms }) => loopP99Ms)] },
      {
        title: "Claims, ms",
        series: [line("p50", ({ claimMs }) => claimMs.p50), line("p99", ({ claimMs }) => claimMs.p99)],
      },
    ],
    "linear",
  );
}
