import { type Command, Option } from "commander";
import type { RemotePool, RemoteVm } from "../../client/index.ts";
import { isVmSubstrateError, VmSubstrateError } from "../../lib/index.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { duration } from "../values.ts";

const STATES = ["running", "gone", "parked"] as const;
type Awaited = (typeof STATES)[number];

export function waitCommand(cli: Cli): Command {
  return command("wait", {
    summary: "Wait until a VM runs, is parked, or is gone",
    more: "Waiting for another state than gone fails with status 3 when the VM is gone.",
    examples: ["substrate wait node-0 --for gone", "substrate wait node-0 --for parked --timeout 10m"],
  })
    .argument("<vm>")
    .addOption(new Option("--for <state>", "what to wait for").choices(STATES).makeOptionMandatory())
    .option("--timeout <duration>", "how long; then it ends with status 124", duration)
    .action(async (name: string, { for: state, timeout }: { readonly for: Awaited; readonly timeout?: number }) => {
      const pool = await cli.pool();
      const vm = await find(pool, name, state);
      if (vm === undefined) return;
      cli.out.progress.show(`waiting for ${vm.hostname} to be ${state}`);
      await until(vm, state, { pool, signal: cli.signal, timeoutMs: timeout });
      await cli.out.one({ id: vm.id, name: vm.hostname, state: isGone(vm) ? "gone" : vm.state }, [
        [vm.hostname, isGone(vm) ? "gone" : vm.state],
      ]);
    });
}

/** Undefined of one that is gone when that is what is waited for. */
async function find(pool: RemotePool, name: string, state: Awaited): Promise<RemoteVm | undefined> {
  try {
    return await pool.find(name);
  } catch (error) {
    if (state === "gone" && isVmSubstrateError(error, "VM_GONE")) return undefined;
    throw error;
  }
}

interface Waiting {
  readonly pool: RemotePool;
  readonly signal: AbortSignal;
  readonly timeoutMs: number | undefined;
}

async function until(vm: RemoteVm, state: Awaited, { pool, signal, timeoutMs }: Waiting): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const look = () => {
    if (state === (isGone(vm) ? "gone" : vm.state)) resolve();
    else if (isGone(vm))
      reject(new VmSubstrateError("VM_GONE", `VM ${vm.hostname} is gone; it was waited for to be ${state}`));
  };
  const onAbort = () => reject(new VmSubstrateError("ABORTED", "interrupted"));
  const late = new VmSubstrateError(
    "TIMEOUT",
    `VM ${vm.hostname} is ${vm.state}, and not ${state} after the time that was given`,
  );
  const timer = timeoutMs === undefined ? undefined : setTimeout(() => reject(late), timeoutMs);
  const events = ["released", "exit", "parked", "resumed", "responsive", "unresponsive"] as const;
  for (const event of events) pool.events.on(event, look);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    look();
    if (signal.aborted) onAbort();
    await promise;
  } finally {
    clearTimeout(timer);
    for (const event of events) pool.events.off(event, look);
    signal.removeEventListener("abort", onAbort);
  }
}

function isGone({ state }: RemoteVm): boolean {
  return state === "released" || state === "failed";
}
