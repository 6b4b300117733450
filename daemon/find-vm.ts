import { type Pool, type Vm, VmSubstrateError } from "../lib/index.ts";

const NAMED = 5;
/** That many VMs that are gone are told from those that never were. */
const REMEMBERED = 10_000;

/** Finds VMs by whatever a person calls them. */
export class VmFinder {
  readonly #pool: Pool;
  readonly #gone = new Set<string>();

  constructor(pool: Pool) {
    this.#pool = pool;
    pool.events.on("released", ({ id }) => this.#remember(id));
    pool.events.on("exit", ({ id }) => this.#remember(id));
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

  #remember(id: string): void {
    this.#gone.add(id);
    const [oldest] = this.#gone;
    if (this.#gone.size > REMEMBERED && oldest !== undefined) this.#gone.delete(oldest);
  }
}
