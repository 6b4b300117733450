import { activateClone, type CloneDependencies, coldBoot, type Vm } from "../clone/index.ts";
import { VmSubstrateError, validate, withDeadline, withDeadlineAndUndo, withFields } from "../core/index.ts";
import { activationCall, type CallKind } from "./activation-call.ts";
import type { Activations, StartVm } from "./activations.ts";
import { reported } from "./call-report.ts";
import type { Calls } from "./calls.ts";
import type { Docks } from "./docks.ts";
import type { ActivateOptions, ActivateSpec } from "./options.ts";
import { allVms, type Outcome, settleAll } from "./outcomes.ts";
import type { Announcer } from "./pool-events.ts";
import { callDigest, type Made, type Requests, used } from "./requests.ts";
import { activateOptionsSchema } from "./schemas.ts";
import type { VmLedger } from "./vm-ledger.ts";

export interface VmCallsDependencies extends CloneDependencies {
  readonly calls: Pick<Calls, "run">;
  readonly activations: Activations;
  readonly docks: Docks;
  readonly ledger: VmLedger;
  readonly requests: Requests;
  readonly vms: { readonly get: (id: string) => Vm | undefined };
  readonly events: Announcer;
}

/** The calls that make VMs of substrates: validated, within their deadlines, and made once for an idempotency key. */
export class VmCalls {
  readonly #deps: VmCallsDependencies;

  constructor(deps: VmCallsDependencies) {
    this.#deps = deps;
  }

  /** In mode `atomic` every outcome is a VM. @throws VmSubstrateError as `Pool.activate` */
  async activate(
    count: number,
    spec: ActivateSpec,
    options: ActivateOptions,
    mode: CallKind["mode"],
  ): Promise<Outcome[]> {
    const start = (deps: CloneDependencies): StartVm => {
      return (plan, substrate, activation) => activateClone(plan, substrate, activation, deps);
    };
    return this.#deps.docks.undisturbed(() => this.#make({ what: "activate", mode }, start, count, spec, options));
  }

  /** Every outcome is a VM. @throws VmSubstrateError as `Pool.coldBoot` */
  async coldBoot(count: number, spec: ActivateSpec, options: ActivateOptions): Promise<Outcome[]> {
    const start = (deps: CloneDependencies): StartVm => {
      return async (plan, substrate, activation) => {
        const startedAt = performance.now(); // the wait is no part of a boot
        return coldBoot(plan, substrate, { ...activation, startedAt, plannedAt: startedAt }, deps);
      };
    };
    return this.#make({ what: "coldBoot", mode: "atomic" }, start, count, spec, options);
  }

  async #make(
    kind: CallKind,
    startBy: (deps: CloneDependencies) => StartVm,
    count: number,
    spec: ActivateSpec,
    options: ActivateOptions,
  ): Promise<Outcome[]> {
    const { what, mode } = kind;
    const { calls, activations, requests, logger } = this.#deps;
    const { signal: callersSignal, callId } = validate(activateOptionsSchema, options, what);
    const { call, timeoutMs } = activationCall(kind, count, spec, callId);
    const start = startBy({ ...this.#deps, logger: withFields(logger, { callId: call.callId }) });
    const { idempotencyKey: key } = call;
    return calls.run(callersSignal, (callSignal) => {
      const run = () =>
        reported(call, this.#deps, () =>
          withDeadlineAndUndo(
            { what, timeoutMs, signal: callSignal },
            (signal) => activations.run({ ...call, start, signal }),
            (outcomes) => this.#takeBack(outcomes, key),
          ),
        );
      if (key === undefined) return run();
      return requests.once(key, callDigest(what, mode, count, spec), run, {
        // Its own patience and signal end its own waiting, and not the call that another waits for as well.
        join: (result) => withDeadline({ what, timeoutMs, signal: callSignal }, () => result),
        again: (made) => this.#again(key, made),
      });
    });
  }

  /** A call that was ended when its VMs were there already: it failed, and its key is free again. */
  async #takeBack(outcomes: readonly Outcome[], key: string | undefined): Promise<void> {
    const { ledger, requests } = this.#deps;
    await settleAll(allVms(outcomes).map((vm) => vm.release()));
    await ledger.commit({ writes: requests.undone(key) });
  }

  /** The outcome of a call that is repeated. */
  #again(key: string, made: readonly Made[]): Outcome[] {
    return made.map((one) => {
      if (typeof one !== "string") return { error: new VmSubstrateError(one.code, one.message) };
      const vm = this.#deps.vms.get(one);
      if (vm === undefined) throw used(key, "belongs to a call whose VMs are gone");
      return { vm };
    });
  }
}
