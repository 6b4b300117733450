import { bootId, monotonicMs, type Paths } from "../host/index.ts";
import { Fabrics, LeaseBook, type Subnet } from "../netcfg/index.ts";
import { EmbeddedStore } from "../store/index.ts";
import { DockRecords } from "./dock-records.ts";
import { Requests } from "./requests.ts";
import { VmLedger } from "./vm-ledger.ts";

/** Everything that outlives this process, read. Disposing closes the store. */
export interface DurableState extends AsyncDisposable {
  /** Of this machine: tells whether processes of an earlier owner can be there. */
  readonly bootId: string;
  readonly ledger: VmLedger;
  readonly leases: LeaseBook;
  readonly fabrics: Fabrics;
  readonly requests: Requests;
  readonly dockRecords: DockRecords;
}

/**
 * Only by the state directory's owner.
 * @throws VmSubstrateError STATE_DIR_DAMAGED, STORE_TOO_NEW, STORE_UNWRITABLE
 */
export async function openDurableState(
  paths: Paths,
  options: { readonly quarantineMs: number },
): Promise<DurableState> {
  await using undo = new AsyncDisposableStack();
  const store = undo.use(await EmbeddedStore.open(paths.store));
  const leases = await LeaseBook.open(store, { ...options, now: monotonicMs });
  const ledger = await VmLedger.open(store);
  // By who is on it: docked clones have leased addresses of networks that they are not plugged into.
  const isUsed = (subnet: Subnet) =>
    ledger.records.some(({ fabric, identity }) => fabric !== "none" && identity && subnet.contains(identity.address));
  const fabrics = await Fabrics.open(store, { isUsed });
  const requests = await Requests.open(store);
  const owned = undo.move();
  return {
    bootId: await bootId(),
    ledger,
    leases,
    fabrics,
    requests,
    dockRecords: new DockRecords(store),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
