import { parseArgs } from "node:util";
import { benchActivate } from "./activate.ts";
import { benchAdopt } from "./adopt.ts";
import { benchClaim } from "./claim.ts";
import { benchCompare } from "./compare.ts";
import { LIBVIRT_SETUP } from "./compare-libvirt.ts";
import { type Context, defaultStateDir } from "./context.ts";
import { benchDaemon } from "./daemon.ts";
import { benchDebian } from "./debian.ts";
import { benchDensity } from "./density.ts";
import { benchFork } from "./fork.ts";
import { benchResize } from "./resize.ts";

const HELP = `npm run bench -- <benchmark> [options]

  activate   cold boot of an overlay of the same disk against activation from the substrate
             --rounds N          rounds, each one cold boot and 5 activations a channel (default 10)
  claim      claims: primed, on the fly, restored, without a dock, by the agent only; 32 and 64 at once; while a dock is filled
             --primed N          claims of primed clones (default 200)
             --claims N          claims of each other kind, and while a dock is filled (default 100)
             --rounds N          rounds of 32 and 64 at once, and of refills (default 3)
  density    memory of a clone and time of a claim against how many there are; all of them claimed; docs/density.svg
             --max N             largest number of clones (default 300); stops earlier when memory would not do
             --claims N          claims at each number (default 10)
             --batch N           VMs of a call when all are claimed (default 32)
  compare    the same guest by cold boot, savevm/-loadvm, virsh restore, our clone and our dock; docs/compare.svg
             --rounds N          VMs of each kind (default 10)
             --work-dir DIR      for the images of savevm and virsh (default /dev/shm)
             --no-libvirt        without virsh restore
  debian     Debian 12: cold boot, clone, clone by the agent only, claim of a primed clone; nginx; memory
             --rounds N          cold boots (default 10)
             --claims N          clones and claims of each kind (default 50)
  resize     claims of docked clones with more processors, memory and disk than their substrate
             --claims N          claims of each kind (default 20)
  fork       forks of a running VM that has written: its pause, the whole call, memory
             --rounds N          rounds, each with a new source (default 5)
             --forks N           forks of each (default 4)
             --dirty N           MiB that the source writes before (default 64)
  adopt      an owner of running VMs is killed: until the next one has them
             --rounds N          kills (default 5)
             --vms N             VMs of each (default 20)
  daemon     claims through a daemon beside claims in this process; then many, for long; docs/daemon.svg
             --claims N          claims of each kind (default 200)
             --minutes N         of the soak (default 5)
             --per-minute N      claims a minute of the soak (default 500)

  every one  --state-dir DIR     the pool's (default: the library's own)

compare's virsh needs libvirt, which nothing here installs:
  ${LIBVIRT_SETUP}
No service needs to run: the benchmark starts a libvirtd of its own. Without libvirt, virsh restore is left out and the report
says so.

Writes bench/results/<benchmark>.json and .md. Run it on an idle machine. Ctrl-C ends it and all its VMs.`;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string" },
    primed: { type: "string" },
    claims: { type: "string" },
    max: { type: "string" },
    batch: { type: "string" },
    forks: { type: "string" },
    dirty: { type: "string" },
    vms: { type: "string" },
    minutes: { type: "string" },
    "per-minute": { type: "string" },
    "work-dir": { type: "string", default: "/dev/shm" },
    "state-dir": { type: "string", default: defaultStateDir() },
    "no-libvirt": { type: "boolean", default: false },
    help: { type: "boolean" },
  },
});

/** Options that one benchmark takes another may not know; a number that is none must not become a run of nothing. */
function count(
  option: "rounds" | "primed" | "claims" | "max" | "batch" | "forks" | "dirty" | "vms" | "minutes" | "per-minute",
  otherwise: number,
): number {
  const given = values[option];
  if (given === undefined) return otherwise;
  if (/^[1-9]\d{0,4}$/.test(given)) return Number(given);
  throw new RangeError(`--${option}: expected a number from 1, got "${given}"`);
}

const BENCHMARKS: Readonly<Record<string, (context: Context) => Promise<void>>> = {
  activate: (context) => benchActivate(count("rounds", 10), context),
  claim: (context) =>
    benchClaim(
      {
        primedClaims: count("primed", 200),
        otherClaims: count("claims", 100),
        fillingClaims: count("claims", 100),
        rounds: count("rounds", 3),
      },
      context,
    ),
  density: (context) =>
    benchDensity({ max: count("max", 300), claimsPerStep: count("claims", 10), batch: count("batch", 32) }, context),
  compare: (context) =>
    benchCompare({ rounds: count("rounds", 10), workDir: values["work-dir"], libvirt: !values["no-libvirt"] }, context),
  debian: (context) => benchDebian({ rounds: count("rounds", 10), claims: count("claims", 50) }, context),
  resize: (context) => benchResize(count("claims", 20), context),
  adopt: (context) => benchAdopt({ rounds: count("rounds", 5), vms: count("vms", 20) }, context),
  daemon: (context) =>
    benchDaemon(
      { claims: count("claims", 200), minutes: count("minutes", 5), claimsPerMinute: count("per-minute", 500) },
      context,
    ),
  fork: (context) =>
    benchFork({ rounds: count("rounds", 5), forks: count("forks", 4), dirtyMiB: count("dirty", 64) }, context),
};

const [name] = positionals;
const benchmark = name === undefined ? undefined : BENCHMARKS[name];
if (values.help || name === undefined) {
  console.log(HELP);
} else if (benchmark === undefined || positionals.length > 1) {
  console.error(`there is no benchmark "${positionals.join(" ")}"\n\n${HELP}`);
  process.exitCode = 2;
} else {
  const interrupted = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      // Pools and processes are closed on the way out; a second Ctrl-C must not cut that short.
      if (!interrupted.signal.aborted) console.error(`${signal}: ending every VM`);
      interrupted.abort(new Error(`interrupted by ${signal}`));
    });
  }
  try {
    await benchmark({ signal: interrupted.signal, stateDir: values["state-dir"] });
  } catch (error) {
    console.error(interrupted.signal.aborted ? "interrupted; nothing was written" : error);
    process.exitCode = interrupted.signal.aborted ? 130 : 1;
  }
}
