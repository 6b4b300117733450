// Goes through the script on new stores in the directory argv[2], with a fault at call argv[3] of the first, argv[4] calls
// later in the next, and so on until a script comes to its end without one. It tells of it on stdout line by line, at once:
// what was acknowledged before the process was killed has been told.
import { mkdirSync, writeSync } from "node:fs";
import { join } from "node:path";
import { EmbeddedStore, type Store } from "../../lib/store/index.ts";
import { CHECKPOINT_BYTES, type FaultStep, LEASE, STEPS } from "./io-faults-script.ts";

function say(word: string, what: unknown): void {
  writeSync(1, `${JSON.stringify([process.env.IO_FAULTS_AT, word, what])}\n`);
}

function hadFault(): boolean {
  return process.env.IO_FAULTS_DONE === process.env.IO_FAULTS_AT;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : String(error);
}

async function requestAll(store: Store, step: FaultStep): Promise<unknown> {
  if (step === "grant") return store.grantLease(LEASE.ttlMs);
  if (step === "revoke") return store.revokeLease(LEASE.id);
  return Promise.all(step.map((transaction) => store.transact(transaction)));
}

/** The disk works again by now, which must make no difference. */
async function sayWhatStillWorks(store: Store): Promise<void> {
  const writes = [
    store.transact({ writes: [{ put: "late", value: "" }] }),
    store.transact({ writes: [{ delete: "all/last" }] }),
    store.grantLease(LEASE.ttlMs),
    store.renewLease(LEASE.id),
    store.revokeLease(LEASE.id),
  ];
  const codes = await Promise.all(writes.map((write) => write.then(() => "written", codeOf)));
  say("later", codes);
  say("read", await store.list(""));
}

async function goThrough(file: string): Promise<void> {
  const store = await EmbeddedStore.open(file, { checkpointBytes: CHECKPOINT_BYTES });
  say("opened", hadFault());
  let acknowledged = 0;
  try {
    for (const step of STEPS) {
      await requestAll(store, step);
      acknowledged += Array.isArray(step) ? step.length : 1;
      say("acknowledged", acknowledged);
    }
  } catch (error) {
    say("failed", codeOf(error));
    await sayWhatStillWorks(store).catch((failure: unknown) => say("unreadable", codeOf(failure)));
  }
  say("closing", hadFault());
  await store[Symbol.asyncDispose]();
  say("closed", true);
}

const [, , base = "", first = "", stride = ""] = process.argv;
for (let at = Number(first); ; at += Number(stride)) {
  // The shim reads the real environment, to which Node writes through.
  Object.assign(process.env, { IO_FAULTS_AT: `${at}`, IO_FAULTS_BELOW: join(base, `${at}`) });
  mkdirSync(join(base, `${at}`));
  await goThrough(join(base, `${at}`, "store.db")).catch((error: unknown) => say("refused", codeOf(error)));
  say("ended", hadFault());
  if (!hadFault()) break;
}
