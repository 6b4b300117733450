import { rm } from "node:fs/promises";
import { launchClone } from "../../lib/clone/launch.ts";
import { PhaseClock } from "../../lib/clone/phases.ts";
import { newClonePlan } from "../../lib/clone/plan.ts";
import { silentLogger } from "../../lib/core/index.ts";
import { ensurePrivateDir, identifyQemu, Paths } from "../../lib/host/index.ts";
import { newIdentity } from "../../lib/netcfg/index.ts";
import { Catalog, LoadedSubstrate } from "../../lib/substrate/index.ts";
import { labDirectories } from "./lab.ts";
import { expectNothingLeft } from "./nothing-left.ts";

/** The lab's substrate below the pool, so that clones can be looked at before anything is done to them. */
export async function loadLabSubstrate() {
  const paths = new Paths(labDirectories());
  for (const dir of [paths.runtimeDir, paths.sharedMemoryDir]) await ensurePrivateDir(dir);
  const deps = { paths, qemu: await identifyQemu(), logger: silentLogger, failpoint: () => {} };
  const substrate = await LoadedSubstrate.load(await new Catalog(paths).latest("mini"), paths, deps.qemu);
  let launched = 0;
  return {
    substrate,
    /** A clone that runs with nothing done to it: no identity, no entropy, no clock. */
    async launch() {
      const index = ++launched;
      const values = { hostname: `raw-${index}`, address: `10.77.0.${index}`, mac: `02:00:00:00:00:0${index}` };
      const plan = {
        ...newClonePlan(),
        identity: newIdentity(values, { prefixLength: 24 }),
        fabric: { kind: "none" } as const,
      };
      const clock = new PhaseClock(performance.now(), performance.now());
      const clone = await launchClone(plan, substrate, "helper", deps, clock, new AbortController().signal);
      await clone.instance.qmp.execute("cont");
      const { helper } = clone.guest;
      return {
        plan,
        clone,
        helper,
        agent: await clone.guest.agent(),
        [Symbol.asyncDispose]: () => clone[Symbol.asyncDispose](),
      };
    },
    async [Symbol.asyncDispose]() {
      await substrate[Symbol.asyncDispose]();
      for (const dir of [paths.runtimeDir, paths.sharedMemoryDir]) await rm(dir, { recursive: true });
      await expectNothingLeft(labDirectories());
    },
  };
}
