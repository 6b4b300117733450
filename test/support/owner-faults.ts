import { isVmSubstrateError } from "../../lib/core/index.ts";
import type { Pool } from "../../lib/pool/index.ts";

const SPEC = { substrate: "fake" } as const;
/** More than there may be descriptors for. */
const AT_ONCE = 20;

function codeOf(error: unknown): string {
  return isVmSubstrateError(error) ? error.code : String(error);
}

async function sayWhoAnswers(pool: Pool, say: (line: string) => void): Promise<void> {
  for (const vm of pool.vms) {
    const answer = await vm.exec(["hostname"]).then(({ stdout }) => stdout.trimEnd(), codeOf);
    say(`answers ${vm.id} ${answer}`);
  }
}

/** Asks for more VMs at once than the process may have open files for, until some are refused. */
export async function runOutOfDescriptors(pool: Pool, say: (line: string) => void): Promise<void> {
  for (let refused = false; !refused; ) {
    const calls = await Promise.allSettled(Array.from({ length: AT_ONCE }, () => pool.activate(1, SPEC)));
    for (const call of calls) {
      if (call.status === "rejected") say(`refused ${codeOf(call.reason)}`);
    }
    refused = calls.some(({ status }) => status === "rejected");
  }
  for (const { id } of pool.vms) say(`handed ${id}`);
  await sayWhoAnswers(pool, say);
  await Promise.all(pool.vms.slice(0, 4).map((vm) => vm.release()));
  say(`again ${await pool.activate(1, SPEC).then(() => "made", codeOf)}`);
}

/** Makes VMs one after the other until one is refused, and then until one is made again. */
export async function runOutOfProcesses(pool: Pool, say: (line: string) => void): Promise<void> {
  await pool.activate(1, SPEC);
  say("begun");
  const untilItIs = async (wanted: "made" | "refused") => {
    for (;;) {
      const said = await pool.activate(1, SPEC).then(([vm]) => vm?.release().then(() => "made"), codeOf);
      if (wanted === "made" ? said === "made" : said !== "made") return said;
    }
  };
  say(`refused ${await untilItIs("refused")}`);
  await sayWhoAnswers(pool, say);
  say(`again ${await untilItIs("made")}`);
  say(`collected ${JSON.stringify(await pool.gc())}`);
  say(`left ${pool.vms.map(({ hostname }) => hostname).join(" ")}`);
}

/** Goes on while its store cannot be written any more. */
export async function loseTheDisk(pool: Pool, storeFile: string, say: (line: string) => void): Promise<void> {
  const [first, second] = await pool.activate(2, { ...SPEC, idempotencyKey: "before" });
  for (const { id } of pool.vms) say(`handed ${id}`);
  // The shim of io-faults.c reads the real environment, to which Node writes through.
  Object.assign(process.env, { IO_FAULTS_BELOW: storeFile, IO_FAULTS_AT: "1" });
  const after = { ...SPEC, idempotencyKey: "after" };
  say(`activate ${await pool.activate(2, after).then(() => "made", codeOf)}`);
  say(`activate ${await pool.activate(1, { ...SPEC, wait: true }).then(() => "made", codeOf)}`);
  say(`park ${await first?.park().then(() => "parked", codeOf)}`);
  say(`extend ${await first?.extend(1000).then(() => "extended", codeOf)}`);
  say(`again ${(await pool.activate(2, { ...SPEC, idempotencyKey: "before" }))[0]?.id === first?.id}`);
  await sayWhoAnswers(pool, say);
  say(`release ${await second?.release().then(() => "released", codeOf)}`);
  say(`left ${pool.vms.map(({ id }) => id).join(" ")}`);
}
