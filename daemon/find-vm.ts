import { type Pool, type Vm, VmSubstrateError } from "../lib/index.ts";

const NAMED = 5;
/** That many ids and hostnames of VMs that are gone are told from those that never were. */
const REMEMBERED = 20_000;

/** Finds VMs by whatever a person calls them. */
export class VmFinder {
  readonly #pool: Pool;
  readonly #gone = new Set<string>();

  constructor(pool: Pool) {
    this.#pool = pool;
    pool.events.on("released", (vm) => this.#remember(vm));
    pool.events.on("exit", (vm) => this.#remember(vm));
  }

  /** By its id, its hostname, or a beginning of either that only one has. @throws VmSubstrateError NOT_FOUND, VM_GONE, INVALID_ARGUMENT */
  find(name: string): Vm {
    const { vms } = this.#pool;
    const exact = vms.find(({ id }) => id === name) ?? vms.find(({ hostname }) => hostname === name);
    if (exact !== undefined) return exact;
    const found = vms.filter(({ id, hostname }) => id.startsWith(name) || hostname.startsWith(name));
    const [only, another] = found;
    if (only !== undefined && another === undefined) return only;
    if (only !== undefined) {
      const names = found.slice(0, NAMED).map(({ id, hostname }) => `${hostname} (${id})`);
      const message = `"${name}" is the beginning of ${found.length} VMs: ${names.join(", ")}; write more of it`;
      throw new VmSubstrateError("INVALID_ARGUMENT", message, { details: { matches: found.length } });
    }
    if (this.#gone.has(name)) throw new VmSubstrateError("VM_GONE", `VM ${name} was released or has ended`);
    throw new VmSubstrateError("NOT_FOUND", `there is no VM "${name}"`);
  }

  #remember({ id, hostname }: Vm): void {
    for (const name of [id, hostname]) {
      this.#gone.delete(name); // the latest are remembered longest
      this.#gone.add(name);
    }
    for (const oldest of this.#gone) {
      if (this.#gone.size <= REMEMBERED) break;
      this.#gone.delete(oldest);
    }
  }
}
