import { VmSubstrateError } from "../core/index.ts";
import type { Compare, Store, Write } from "../store/index.ts";
import { type Fabric, type FabricKind, newMcast } from "./fabric.ts";
import type { IpSubnet } from "./ip-subnet.ts";
import type { Network } from "./network.ts";
import { type FabricNetwork, NETWORKS_PREFIX, networkKey, networkText, parseNetworkRecord } from "./network-record.ts";
import type { Subnet } from "./subnet.ts";

/** Written with every new network, so that two writers cannot make two that overlap at the same time. */
const GUARD_KEY = "networks-changed";
/** Each attempt that fails means that another writer has made a network. */
const MAX_JOIN_ATTEMPTS = 64;

export interface FabricsOptions {
  /**
   * Whether a VM has an address of a subnet. Networks without one are forgotten when another is made. Leave it out where
   * several processes write to the store: a VM of another could be on its way into the network.
   */
  readonly isUsed?: ((subnet: Subnet) => boolean) | undefined;
}

/** The network is not forgotten before this is disposed of; from then on only a VM's address keeps it. */
export interface JoinedFabric extends Disposable {
  readonly fabric: Fabric;
}

/** A network, and how many are about to put VMs on it. */
interface Known extends FabricNetwork {
  readonly revision: number;
  joining: number;
}

/** The networks of one pool, durable: VMs that name the same subnet meet on the same fabric. */
export class Fabrics {
  readonly #store: Store;
  readonly #isUsed: (subnet: Subnet) => boolean;
  /** By the IPv4 subnet. */
  readonly #known = new Map<string, Known>();
  #guard = 0;
  #making: Promise<unknown> = Promise.resolve();

  private constructor(store: Store, { isUsed = () => true }: FabricsOptions) {
    this.#store = store;
    this.#isUsed = isUsed;
  }

  /** @throws VmSubstrateError STATE_DIR_DAMAGED, STORE_CLOSED */
  static async open(store: Store, options: FabricsOptions = {}): Promise<Fabrics> {
    const fabrics = new Fabrics(store, options);
    await fabrics.#load();
    return fabrics;
  }

  /** The subnets of the networks that are known. */
  get subnets(): readonly string[] {
    return [...this.#known.keys()];
  }

  /**
   * The fabric of a network, made durable when it is the first time that it is named.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT for a network that overlaps another, whose VMs would not meet, and for one that
   *   was named with another IPv6 subnet before; as Store.transact
   */
  async join(kind: FabricKind, network: Network): Promise<JoinedFabric> {
    if (kind === "none") return { fabric: { kind }, [Symbol.dispose]() {} };
    const known = this.#find(network);
    if (known !== undefined) return join(known);
    // One at a time: the second must see the first one's network.
    const made = this.#making.then(() => this.#make(network));
    this.#making = made.catch(() => {});
    return made;
  }

  /** The fabric of a network that somebody has joined before. */
  known({ subnet }: Network): Fabric | undefined {
    return this.#known.get(subnet.cidr)?.fabric;
  }

  async #make(network: Network): Promise<JoinedFabric> {
    for (let attempt = 1; attempt <= MAX_JOIN_ATTEMPTS; attempt++) {
      const known = this.#find(network);
      if (known !== undefined) return join(known);
      const made = await this.#write(network);
      if (made !== undefined) return join(made);
      await this.#load();
    }
    const message = `other processes made networks first, ${MAX_JOIN_ATTEMPTS} times in a row; call again`;
    throw new VmSubstrateError("LEASE_CONFLICT", message);
  }

  /** Undefined when another writer was faster. */
  async #write({ subnet, subnet6 }: Network): Promise<Known | undefined> {
    const unused = [...this.#known.values()].filter((one) => one.joining === 0 && !this.#isUsed(one.subnet));
    for (const other of this.#known.values()) if (!unused.includes(other)) requireApart({ subnet, subnet6 }, other);
    const made: FabricNetwork = { subnet, subnet6, fabric: newMcast() };
    const key = networkKey(subnet);
    const forgotten = new Map(unused.map((one) => [networkKey(one.subnet), one]));
    const compare: Compare[] = [
      { key: GUARD_KEY, revision: this.#guard },
      ...[...forgotten].map(([of, { revision }]) => ({ key: of, revision })),
    ];
    if (!forgotten.has(key)) compare.push({ key, revision: 0 });
    const writes: Write[] = [
      { put: GUARD_KEY, value: subnet.cidr },
      ...[...forgotten.keys()].filter((of) => of !== key).map((of) => ({ delete: of })),
      { put: key, value: networkText(made) },
    ];
    // Nobody may join them while they are being forgotten: who wants to has to wait for its turn.
    for (const one of unused) this.#known.delete(one.subnet.cidr);
    const { committed, revision } = await this.#store.transact({ compare, writes });
    if (!committed) return undefined;
    this.#guard = revision;
    const known: Known = { ...made, revision, joining: 0 };
    this.#known.set(subnet.cidr, known);
    return known;
  }

  /** The network of that IPv4 subnet, if it may be joined as it is. */
  #find({ subnet, subnet6 }: Network): Known | undefined {
    const known = this.#known.get(subnet.cidr);
    if (known === undefined || known.subnet6?.cidr === subnet6?.cidr) return known;
    if (known.joining === 0 && !this.#isUsed(known.subnet)) return undefined; // made anew
    const before =
      known.subnet6 === undefined ? "without an IPv6 subnet" : `with the IPv6 subnet ${known.subnet6.cidr}`;
    const message = `network ${subnet.cidr} was made ${before} and is in use; name it so, or another one`;
    throw new VmSubstrateError("INVALID_ARGUMENT", message, {
      details: { subnet: subnet.cidr, subnet6: known.subnet6?.cidr },
    });
  }

  async #load(): Promise<void> {
    // The guard first: a network that is made in between makes the next transaction fail, and is not missed.
    const guard = await this.#store.get(GUARD_KEY);
    const { entries } = await this.#store.list(NETWORKS_PREFIX);
    this.#guard = guard?.revision ?? 0;
    const before = new Map(this.#known);
    this.#known.clear();
    for (const { key, value, revision } of entries) {
      const network = parseNetworkRecord(key, value);
      const { cidr } = network.subnet;
      const known = before.get(cidr);
      this.#known.set(cidr, known?.revision === revision ? known : { ...network, revision, joining: 0 });
    }
  }
}

function join(known: Known): JoinedFabric {
  known.joining++;
  let isJoining = true;
  return {
    fabric: known.fabric,
    [Symbol.dispose]() {
      if (isJoining) known.joining--;
      isJoining = false;
    },
  };
}

/** @throws VmSubstrateError INVALID_ARGUMENT */
function requireApart(network: Pick<FabricNetwork, "subnet" | "subnet6">, other: FabricNetwork): void {
  const pairs: [IpSubnet | undefined, IpSubnet | undefined][] = [
    [network.subnet, other.subnet],
    [network.subnet6, other.subnet6],
  ];
  for (const [mine, theirs] of pairs) {
    if (mine === undefined || theirs === undefined || !mine.overlaps(theirs)) continue;
    const message = `subnet ${mine.cidr} overlaps ${theirs.cidr}, which is another network of this pool; use that one, or a subnet apart from it`;
    throw new VmSubstrateError("INVALID_ARGUMENT", message, { details: { subnet: mine.cidr, other: theirs.cidr } });
  }
}
