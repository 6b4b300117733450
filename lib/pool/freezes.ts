import { z } from "zod";
import { endFlattening, type FreezeOptions, type Frozen, type Vm } from "../clone/index.ts";
import { signalSchema, VmSubstrateError, validate } from "../core/index.ts";
import type { Paths, QemuBinary } from "../host/index.ts";
import { freezeRunning, progressReporter } from "../substrate/index.ts";
import type { Builds } from "./builds.ts";
import type { Calls } from "./calls.ts";
import type { Docks } from "./docks.ts";
import type { Flattening } from "./flattening.ts";
import type { Forks } from "./forks.ts";
import type { LoadedSubstrates } from "./loaded-substrates.ts";
import type { Announcer } from "./pool-events.ts";
import { nameSchema } from "./schemas.ts";
import { substrateInfo } from "./substrate-info.ts";
import type { VmLedger } from "./vm-ledger.ts";

/** The copy is ended long before; after a crash of its owner the next one takes it for a VM, and ends it then. */
const COPY_LIFETIME_MS = 900_000;
/** What people see of the copy. */
const COPY_LABEL = "vm-substrate/freezing";

const optionsSchema = z.strictObject({
  name: nameSchema,
  signal: signalSchema.optional(),
  onProgress: z.custom<NonNullable<FreezeOptions["onProgress"]>>((given) => typeof given === "function").optional(),
});

export interface FreezesDependencies {
  readonly paths: Paths;
  readonly qemu: QemuBinary;
  readonly calls: Pick<Calls, "run">;
  readonly ledger: VmLedger;
  readonly loaded: LoadedSubstrates;
  readonly builds: Builds;
  readonly docks: Docks;
  readonly forks: Pick<Forks, "fork">;
  readonly flattening: Flattening;
  readonly events: Announcer;
}

/** Makes substrates of running VMs, by way of a fork of each: the VM itself keeps its identity, and stands still but for that. */
export class Freezes {
  readonly #deps: FreezesDependencies;

  constructor(deps: FreezesDependencies) {
    this.#deps = deps;
  }

  /** @throws VmSubstrateError as `Vm.freeze` */
  async freeze(source: Vm, options: FreezeOptions): Promise<Frozen> {
    const { name, signal, onProgress } = validate(optionsSchema, options, "freeze");
    const { calls, builds, forks, flattening } = this.#deps;
    const progress = progressReporter(onProgress);
    return calls.run(signal, async (within) => {
      progress("boot", `a fork of ${source.hostname}`);
      const labels = { [COPY_LABEL]: name };
      const [copy] = await forks.fork(source, 1, { labels, ttlMs: COPY_LIFETIME_MS, signal: within });
      if (copy === undefined) throw new TypeError("a fork made no VM");
      await using _ = copy;
      // What is copied while the copy stands still would be in QEMU's memory alone, and its disk is read as a file.
      const freeze = () => builds.between(() => this.#freezeCopy(name, copy, progress, within), within);
      return await flattening.without(copy.id, within, freeze);
    });
  }

  async #freezeCopy(
    name: string,
    copy: Vm,
    progress: ReturnType<typeof progressReporter>,
    signal: AbortSignal,
  ): Promise<Frozen> {
    const { paths, qemu, loaded, ledger, docks, events } = this.#deps;
    const record = ledger.get(copy.id);
    if (record === undefined) throw new VmSubstrateError("VM_GONE", `freeze: the fork ${copy.id} has ended`);
    using hold = await loaded.hold(record.substrate, "freeze");
    const { overlay } = paths.vm(copy.id);
    const substrate = await copy.whileRunning(
      "freeze",
      async ({ instance, guest }) => {
        await endFlattening(instance.qmp); // one that could not be ended before
        const channels = { agent: await guest.agent(), helper: guest.helper };
        const expendable = { instance, channels, overlay, origin: hold.substrate };
        return freezeRunning(name, expendable, { paths, qemu, progress, signal });
      },
      { isKept: false },
    );
    loaded.setLatest(substrate);
    events.announce("built", substrateInfo(substrate));
    using use = await loaded.use({ name, version: undefined }, "freeze");
    await docks.renew(use.loaded);
    return { name, version: substrate.manifest.version };
  }
}
