import { homedir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type ActivateSpec, Pool, type SubstrateInfo, type Vm } from "vm-substrate";

export const SUBSTRATE = "mini";
export const MIB = 1024 * 1024;
/** The dock's template and the claims' own: a primed clone has such an identity already. */
export const TEMPLATE = { hostname: "bench-{index}", network: { subnet: "10.77.0.0/16" } } as const;
export const SPEC: ActivateSpec = {
  substrate: SUBSTRATE,
  hostname: TEMPLATE.hostname,
  network: { ...TEMPLATE.network, fabric: "mcast" },
};

/** From "the dock is full" to a claim: what is left of its filling settles. */
const REST_MS = 150;
const DOCKED_TIMEOUT_MS = 600_000;

/** What every benchmark is given by `run.ts`. */
export interface Context {
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  readonly stateDir: string;
}

export function defaultStateDir(): string {
  return join(process.env.XDG_STATE_HOME || join(homedir(), ".local/state"), "vm-substrate");
}

export function progress(message: string): void {
  console.error(message);
}

export interface OpenedPool extends AsyncDisposable {
  readonly pool: Pool;
  readonly substrate: SubstrateInfo;
}

/** A pool with the substrate loaded. Closing it ends all its VMs. */
export async function openPool({ stateDir, signal }: Context): Promise<OpenedPool> {
  await using undo = new AsyncDisposableStack();
  const pool = undo.use(await Pool.open({ stateDir }));
  const onProgress = ({ message }: { message: string }) => progress(message);
  const substrate: SubstrateInfo = await pool.build({ recipe: SUBSTRATE, signal, onProgress });
  // Not counted: the first run of this program's own code.
  await release(await pool.activate(1, SPEC, { signal }));
  const owned = undo.move();
  return { pool, substrate, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Sets the dock to exactly `count` clones and resolves when they are there and at rest. @returns milliseconds of filling */
export async function fillDock(pool: Pool, count: number, primed: boolean, { signal }: Context): Promise<number> {
  const startedAt = performance.now();
  await pool.dock(SUBSTRATE, { min: count, max: count, primed, ...TEMPLATE });
  await pool.docked(SUBSTRATE, { count, timeoutMs: DOCKED_TIMEOUT_MS, signal });
  const tookMs = performance.now() - startedAt;
  await atRest(pool, signal);
  return tookMs;
}

/** Ends every docked clone, so that the next filling starts from nothing. */
export async function emptyDock(pool: Pool, { signal }: Context): Promise<void> {
  await pool.dock(SUBSTRATE, { min: 0, max: 0, ...TEMPLATE });
  await atRest(pool, signal);
}

/** Nothing of a dock is starting, and what was has settled. */
export async function atRest(pool: Pool, signal: AbortSignal): Promise<void> {
  while (pool.docks.some(({ starting, ready, max }) => starting > 0 || ready > max)) {
    await delay(10, undefined, { signal });
  }
  await delay(REST_MS, undefined, { signal });
}

export async function release(vms: readonly Vm[]): Promise<void> {
  await Promise.all(vms.map((vm) => vm.release()));
}

/** What went wrong without ending the benchmark: it is part of the results, and makes the status non-zero in the end. */
export class Failures {
  readonly messages: string[] = [];

  /** @returns undefined for an attempt that failed */
  async note<T>(what: string, signal: AbortSignal, attempt: () => Promise<T>): Promise<T | undefined> {
    try {
      return await attempt();
    } catch (error) {
      signal.throwIfAborted();
      const message = `${what}: ${error instanceof Error ? error.message : String(error)}`;
      progress(`FAILED: ${message}`);
      this.messages.push(message);
      return undefined;
    }
  }

  get markdown(): string {
    if (this.messages.length === 0) return "";
    return `\n## Failed\n\nNot counted above:\n\n${this.messages.map((message) => `- ${message}`).join("\n")}\n`;
  }

  /** After the results were written. */
  throwIfAny(): void {
    check(this.messages.length === 0, `${this.messages.length} attempts failed; the report lists them`);
  }
}

/** The first failed check ends a benchmark with a non-zero status. */
export function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`bench: ${message}`);
}
