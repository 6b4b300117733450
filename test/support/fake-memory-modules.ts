import type { FakeScript, FakeStep } from "./fake-qemu-script.ts";
import { type FakeArguments, FakeCommandError, type FakeCommands } from "./fake-qmp-server.ts";

type Reach = (step: FakeStep, args?: FakeArguments) => Promise<void>;

interface Module {
  readonly memdev: string;
  readonly sizeMiB: number;
  readonly address: number;
  /** The guest has switched it off. */
  isOff: boolean;
}

const BASE = 4 * 2 ** 30;
const MIB = 2 ** 20;

/** The memory modules of a fake VM, as QEMU and the guest know of them. */
export class FakeMemoryModules {
  readonly baseMiB: number;
  /** What becomes of memory that is plugged in, as the guest was told. */
  onlining = "online";
  readonly #script: Pick<FakeScript, "keepsModules">;
  readonly #reach: Reach;
  /** Sizes in MiB, by id. */
  readonly #backends = new Map<string, number>();
  readonly #modules = new Map<string, Module>();

  constructor(baseMiB: number, script: Pick<FakeScript, "keepsModules"> = {}, reach: Reach = async () => {}) {
    this.baseMiB = baseMiB;
    this.#script = script;
    this.#reach = reach;
  }

  get addedMiB(): number {
    return [...this.#modules.values()].reduce((sum, { sizeMiB }) => sum + sizeMiB, 0);
  }

  has(id: string): boolean {
    return this.#modules.has(id);
  }

  /** @throws FakeCommandError as QEMU without such memory */
  async plug(args: FakeArguments): Promise<void> {
    await this.#reach("add-module", args);
    const memdev = String(args.memdev);
    const sizeMiB = this.#backends.get(memdev);
    if (args.driver !== "pc-dimm" || sizeMiB === undefined) throw new FakeCommandError("no such device or backend");
    this.#modules.set(String(args.id), { memdev, sizeMiB, address: BASE + this.addedMiB * MIB, isOff: false });
  }

  /** It goes when the guest lets it go, which it never does with one that it uses. */
  async unplug(id: string): Promise<void> {
    await this.#reach("remove-module");
    if (this.#modules.get(id)?.isOff === true && this.#script.keepsModules !== true) this.#modules.delete(id);
  }

  /** The guest switches off what is there. @returns false when that is no module */
  switchOff(address: number, bytes: number): boolean {
    const module = [...this.#modules.values()].find((one) => one.address === address);
    if (module === undefined || module.sizeMiB * MIB !== bytes) return false;
    module.isOff = true;
    return true;
  }

  readonly commands: FakeCommands = {
    "object-add": async (args) => {
      await this.#reach("add-memory", args);
      if (args["qom-type"] !== "memory-backend-ram") throw new FakeCommandError("not memory of its own");
      this.#backends.set(String(args.id), Number(args.size) / MIB);
      return {};
    },
    "object-del": async ({ id }) => {
      await this.#reach("remove-memory");
      const isUsed = [...this.#modules.values()].some(({ memdev }) => memdev === id);
      if (isUsed || !this.#backends.delete(String(id))) throw new FakeCommandError(`object '${String(id)}' is in use`);
      return {};
    },
    "qom-list": () => [...this.#backends.keys()].map((name) => ({ name, type: "child<memory-backend-ram>" })),
    "query-memory-devices": () =>
      [...this.#modules].map(([id, { memdev, sizeMiB, address }]) => ({
        type: "dimm",
        data: { id, memdev: `/objects/${memdev}`, addr: address, size: sizeMiB * MIB, slot: 0, node: 0 },
      })),
    "query-memory-size-summary": () => ({
      "base-memory": this.baseMiB * MIB,
      "plugged-memory": this.addedMiB * MIB,
    }),
  };
}
