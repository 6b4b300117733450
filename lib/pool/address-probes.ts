import type { ClonePlan } from "../clone/index.ts";
import { isVmSubstrateError } from "../core/index.ts";
import { AddressProbe, type LeaseBook } from "../netcfg/index.ts";
import type { Claim } from "./claim.ts";
import type { VmLedger } from "./vm-ledger.ts";

export interface AddressProbesDependencies {
  readonly leases: LeaseBook;
  readonly ledger: VmLedger;
}

/**
 * Asks the network for the addresses of one call's VMs, while the VMs are being made. Docked clones that keep their identity
 * are left out: theirs were asked for when they were primed.
 */
export class AddressProbes implements Disposable {
  readonly #deps: AddressProbesDependencies;
  readonly #asked: ReadonlySet<string>;
  readonly #probe: Promise<AddressProbe> | undefined;

  constructor({ plans, docked }: Claim, deps: AddressProbesDependencies) {
    this.#deps = deps;
    const asked = plans.filter((plan) => docked.get(plan.id)?.clone.plan.identity !== plan.identity);
    this.#asked = new Set(asked.map(({ id }) => id));
    const [first] = asked;
    if (first !== undefined)
      this.#probe = AddressProbe.open(
        first.fabric,
        asked.map(({ identity }) => identity),
      );
  }

  /** @throws VmSubstrateError ADDRESS_IN_USE; the address is quarantined then */
  async requireUnused({ id, identity }: ClonePlan): Promise<void> {
    if (!this.#asked.has(id)) return;
    await requireUnused(await this.#probe, identity.address, this.#deps);
  }

  async announce({ id, identity }: ClonePlan): Promise<void> {
    if (this.#asked.has(id)) (await this.#probe)?.announce(identity);
  }

  [Symbol.dispose](): void {
    void this.#probe?.then((probe) => probe[Symbol.dispose]());
  }
}

/** @throws VmSubstrateError ADDRESS_IN_USE; the address is quarantined then */
export async function requireUnused(
  probe: AddressProbe | undefined,
  address: string,
  { leases, ledger }: AddressProbesDependencies,
): Promise<void> {
  try {
    await probe?.requireUnused(address);
  } catch (error) {
    if (isVmSubstrateError(error, "ADDRESS_IN_USE")) await ledger.commit({ changes: [leases.quarantine(address)] });
    throw error;
  }
}
