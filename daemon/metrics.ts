import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { VM_STATES } from "../api/index.ts";
import type { DockStatus, Pool, Vm } from "../lib/index.ts";

/** From a claim of a docked clone to a cold boot. */
const ACTIVATION_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const REQUEST_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30];
const PREFIX = "vm_substrate_";

/** What Prometheus is told. Names follow its practices: base units, `_total` for counters. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #activation: Histogram<"origin" | "substrate">;
  readonly #phases: Histogram<"phase" | "origin">;
  readonly #failures: Counter<"what" | "code">;
  readonly #requests: Histogram<"method" | "route" | "status">;

  constructor(pool: Pool) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry, prefix: PREFIX });
    this.#activation = new Histogram({
      name: `${PREFIX}activation_seconds`,
      help: "From the call to a verified, running VM.",
      labelNames: ["origin", "substrate"],
      buckets: ACTIVATION_BUCKETS,
      registers,
    });
    this.#phases = new Histogram({
      name: `${PREFIX}activation_phase_seconds`,
      help: "The parts of an activation.",
      labelNames: ["phase", "origin"],
      buckets: ACTIVATION_BUCKETS,
      registers,
    });
    this.#failures = new Counter({
      name: `${PREFIX}failures_total`,
      help: "Calls for VMs that failed, by the error's code.",
      labelNames: ["what", "code"],
      registers,
    });
    this.#requests = new Histogram({
      name: `${PREFIX}http_request_seconds`,
      help: "Requests of the API.",
      labelNames: ["method", "route", "status"],
      buckets: REQUEST_BUCKETS,
      registers,
    });
    this.#gauges(pool);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** In Prometheus' text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  activated({ origin, substrate, timings }: Vm): void {
    this.#activation.observe({ origin, substrate: substrate.name }, timings.totalMs / 1000);
    for (const [phase, ms] of Object.entries(timings.phasesMs)) {
      if (ms > 0) this.#phases.observe({ phase, origin }, ms / 1000);
    }
  }

  failed(what: string, code: string): void {
    this.#failures.inc({ what, code });
  }

  requested(method: string, route: string, status: number, ms: number): void {
    this.#requests.observe({ method, route, status: String(status) }, ms / 1000);
  }

  /** Looked up when they are asked for. */
  #gauges(pool: Pool): void {
    const registers: Registry[] = []; // entered as they are made
    this.#registry.registerMetric(
      new Gauge({
        name: `${PREFIX}vms`,
        help: "VMs that were handed out.",
        labelNames: ["state"],
        registers,
        collect() {
          for (const state of VM_STATES.slice(0, 3)) {
            this.set({ state }, pool.vms.filter((vm) => vm.state === state).length);
          }
        },
      }),
    );
    const ofDocks: Readonly<Record<string, readonly [help: string, of: (dock: DockStatus) => number]>> = {
      ready: ["Clones that can be claimed now.", ({ ready }) => ready],
      starting: ["Clones that are being made ready.", ({ starting }) => starting],
      target: ["How many are to be ready.", ({ target }) => target],
      failures: ["Failed starts in a row.", ({ failures }) => failures],
      memory_bytes: ["What the waiting clones take, Pss.", ({ memoryMiB = 0 }) => memoryMiB * 1024 ** 2],
    };
    for (const [name, [help, of]] of Object.entries(ofDocks)) {
      this.#registry.registerMetric(
        new Gauge({
          name: `${PREFIX}dock_${name}`,
          help,
          labelNames: ["substrate", "version", "pinned"],
          registers,
          collect() {
            this.reset();
            for (const dock of pool.docks) {
              const { substrate, version, pinned } = dock;
              this.set({ substrate, version: String(version), pinned: String(pinned) }, of(dock));
            }
          },
        }),
      );
    }
    this.#registry.registerMetric(
      new Gauge({
        name: `${PREFIX}leases`,
        help: "Identity values that clones hold, and addresses in quarantine.",
        labelNames: ["state"],
        registers,
        collect() {
          for (const [state, count] of Object.entries(pool.leases)) this.set({ state }, count);
        },
      }),
    );
    this.#registry.registerMetric(
      new Gauge({
        name: `${PREFIX}clones`,
        help: "Processes of clones, docked ones included.",
        registers,
        collect() {
          this.set(pool.memory.clones);
        },
      }),
    );
    this.#registry.registerMetric(
      new Gauge({
        name: `${PREFIX}memory_bytes`,
        help: "What all clones take, Pss.",
        registers,
        collect() {
          this.set(pool.memory.bytes);
        },
      }),
    );
  }
}
