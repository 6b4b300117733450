import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { messageOf } from "../../lib/core/index.ts";
import { EmbeddedStore } from "../../lib/store/index.ts";
import { FAULT_KINDS, type FaultKind, IoFaults, type ScriptReport } from "../support/io-faults.ts";
import { expectedStates, LEASE, STEPS, type State } from "../support/io-faults-script.ts";

const CHILDREN_AT_ONCE = 2;
const TIMEOUT_MS = 120_000;
const STATES = expectedStates();
const LAST = STATES.length - 1;

let dir = "";
let faults: IoFaults;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "io-faults-"));
  faults = await IoFaults.compile(dir);
});
afterAll(() => rm(dir, { recursive: true }));

/** How many operations are requested at once, after so many that were acknowledged. */
function requestedAfter(acknowledged: number): number {
  let before = 0;
  for (const step of STEPS) {
    const count = Array.isArray(step) ? step.length : 1;
    if (before === acknowledged) return count;
    before += count;
  }
  return 0;
}

/** JSON leaves `leaseId: undefined` out. */
function same(state: State): unknown {
  return JSON.parse(JSON.stringify(state));
}

/** The store as the next process finds it: whole, writable, and with every lease. */
async function reopened(file: string): Promise<State> {
  const store = await EmbeddedStore.open(file);
  const state = await store.list("");
  await store.revokeLease(LEASE.id);
  expect((await store.list("")).entries).toEqual(state.entries.filter(({ leaseId }) => leaseId === undefined));
  expect(await store.transact({ writes: [{ put: "again", value: "" }] })).toMatchObject({ committed: true });
  await store[Symbol.asyncDispose]();
  const database = new DatabaseSync(file);
  expect(database.prepare("PRAGMA integrity_check").all()).toEqual([{ integrity_check: "ok" }]);
  database.close();
  return state;
}

/** All that was acknowledged, and of what was requested then the first so many operations. */
function expectState(state: State, { acknowledged }: ScriptReport): void {
  const possible = STATES.slice(acknowledged, acknowledged + requestedAfter(acknowledged) + 1);
  expect(possible.map(same)).toContainEqual(same(state));
}

function expectReadOnly(report: ScriptReport): void {
  if (report.refused !== undefined) {
    expect(report).toMatchObject({ refused: "STORE_UNWRITABLE", acknowledged: 0, failed: undefined });
    return;
  }
  expect(report.closed).toBe(true);
  // Passed over may be what fails at the end, when SQLite copies the log to the database, for the log stays then. And, when
  // a file is made, the fsync of the directory, which SQLite takes for a favour of the file system.
  if (report.opened === true || report.closing === false) {
    expect(report).toMatchObject({ acknowledged: LAST, failed: undefined });
    return;
  }
  expect(report.failed).toBe("STORE_UNWRITABLE");
  expect(report.later).toEqual(Array.from({ length: 5 }, () => "STORE_UNWRITABLE"));
}

async function check(kind: FaultKind, report: ScriptReport): Promise<void> {
  const context = `${kind} at call ${report.at}`;
  try {
    if (report.hadFault === false) expect(report.acknowledged).toBe(LAST);
    else if (kind === "kill") expect(report).toMatchObject({ hadFault: undefined, closed: undefined });
    else expectReadOnly(report);
    if ((kind === "eio" || kind === "enospc") && report.failed) {
      expect(report.read).toEqual(same(STATES[report.acknowledged] ?? { entries: [], revision: -1 }));
    }
    expectState(await reopened(join(dir, kind, String(report.at), "store.db")), report);
  } catch (error) {
    throw new Error(`${context}: ${messageOf(error)}`, { cause: error });
  }
}

/** A script for every call at which there can be a fault, shared out among children. */
async function runAll(kind: FaultKind): Promise<ScriptReport[]> {
  await mkdir(join(dir, kind));
  const all: ScriptReport[] = [];
  let next = 1;
  const runKilled = async () => {
    do all.push(...(await faults.run(kind, join(dir, kind), next++, 1)));
    while (!all.some(({ hadFault }) => hadFault === false));
  };
  const runRest = async (first: number) => {
    all.push(...(await faults.run(kind, join(dir, kind), first, CHILDREN_AT_ONCE)));
  };
  const lanes = Array.from({ length: CHILDREN_AT_ONCE }, (_, i) => (kind === "kill" ? runKilled() : runRest(i + 1)));
  await Promise.all(lanes);
  return all;
}

describe("a store whose disk fails, or whose process or machine ends", () => {
  it.each(FAULT_KINDS)(
    "keeps what it acknowledged and tears no transaction: %s, at every call",
    {
      timeout: TIMEOUT_MS,
    },
    async (kind) => {
      const reports = await runAll(kind);
      const calls = reports.filter(({ hadFault }) => hadFault !== false).map(({ at }) => at);
      expect(calls.length, "as many as the script makes").toBeGreaterThan(100);
      const passedOver = reports.filter(({ opened }) => opened === true);
      expect(passedOver.length, "fsyncs of the directory").toBeLessThanOrEqual(2);
      expect(calls.toSorted((a, b) => a - b)).toEqual(calls.map((_, i) => i + 1));
      for (const report of reports) await check(kind, report);
    },
  );
});
