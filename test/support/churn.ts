import { isVmSubstrateError } from "../../lib/core/index.ts";
import type { ActivateSpec, Pool } from "../../lib/pool/index.ts";
import { seeded } from "./random.ts";

/** VMs that churning owners have at a time. */
const MOST_VMS = 5;
const KEYS = 3;

/**
 * Makes VMs, lives with them and releases them, by chance, until its process is ended.
 *
 * @param say is told "handed ID" when a VM is its caller's, and "releasing ID" before that gives it back
 */
export async function churn(
  pool: Pool,
  { seed, substrate }: { readonly seed: number; readonly substrate: string },
  say: (line: string) => void,
): Promise<never> {
  const random = seeded(seed);
  const below = (n: number) => Math.floor(random() * n);
  await pool.dock(substrate, { min: 2, primed: random() < 0.5 });
  const release = async () => {
    const vm = pool.vms[below(pool.vms.length)];
    if (vm === undefined) return;
    say(`releasing ${vm.id}`);
    await vm.release();
  };
  for (let turn = 0; ; turn++) {
    const spec: ActivateSpec = {
      substrate,
      network: { fabric: random() < 0.5 ? "mcast" : "none" },
      idempotencyKey: random() < 0.3 ? `key-${seed}-${turn}-${below(KEYS)}` : undefined,
      run: random() < 0.2 ? { argv: [random() < 0.5 ? "true" : "false"] } : undefined,
    };
    const vms = await pool.activate(1 + below(2), spec).catch((error: unknown) => {
      if (isVmSubstrateError(error, "RUN_FAILED")) return [];
      throw error;
    });
    for (const { id } of vms) say(`handed ${id}`);
    const [vm] = vms;
    if (vm !== undefined && random() < 0.3) {
      await vm.park();
      if (random() < 0.5) await vm.resume();
    }
    if (vm !== undefined && random() < 0.2) await vm.extend(3_600_000);
    while (pool.vms.length > MOST_VMS) await Promise.all([release(), random() < 0.5 ? release() : undefined]);
  }
}

/**
 * Changes the target of a dock until its process is ended.
 *
 * @param say is told "asked N" before a change, and "set N" after it
 */
export async function retarget(pool: Pool, say: (line: string) => void): Promise<never> {
  for (let max = 1; ; max = (max % MOST_VMS) + 1) {
    say(`asked ${max}`);
    await pool.dock("fake", { min: 0, max });
    say(`set ${max}`);
  }
}
