import {
  type Accelerator,
  bogoMips,
  GENERATION_DRIVER,
  type MachineGrowth,
  qemuArgv,
  type VmConfig,
  type VmPaths,
} from "../host/index.ts";
import type { GuestGrowth, GuestProfile } from "./recipe.ts";

/** Versioned, and in every QEMU from 7.2 on. i440FX: fewer devices than q35, with hot-plug for later. */
export const MACHINE_TYPE = "pc-i440fx-7.2";

/**
 * Added to a guest's kernel command line under TCG. Detours against speculation of processors cost time at each indirect
 * call, and guard nothing: the code that runs is the emulator's own.
 */
const TCG_KERNEL_OPTIONS = ["mitigations=off"];

/** A recipe's guest as it is booted with an accelerator. */
export function guestFor(guest: GuestProfile, accelerator: Accelerator): GuestProfile {
  if (guest.firmware !== undefined) return guest; // its kernel gets its command line from a boot loader
  const options = [
    guest.kernelCommandLine,
    ...(accelerator === "tcg" ? TCG_KERNEL_OPTIONS : []),
    ...(guest.growth === undefined ? [] : growthKernelOptions(guest.growth, accelerator)),
  ];
  return { ...guest, kernelCommandLine: options.join(" ") };
}

/**
 * Memory that is plugged in is switched on by the kernel itself, before it looks at the next module. With `noreplace-smp`
 * it keeps its code for several processors: to put that back takes 200 ms under TCG when the second one comes.
 *
 * A new processor's speed is measured for 75 ms unless it is known (`lpj`). Under TCG all are as fast as this machine's.
 * Source: kernel-parameters.txt; init/calibrate.c.
 */
function growthKernelOptions({ timerHz }: GuestGrowth, accelerator: Accelerator): string[] {
  const known = accelerator === "tcg" && timerHz !== undefined ? bogoMips() : undefined;
  const loopsPerJiffy = known === undefined ? [] : [`lpj=${Math.round((known * 500_000) / (timerHz ?? 0))}`];
  return ["memhp_default_state=online", "noreplace-smp", ...loopsPerJiffy];
}

export interface MachineOptions {
  readonly id: string;
  readonly uuid: string;
  readonly accelerator: Accelerator;
  readonly cpuModel: string;
  readonly guest: Pick<GuestProfile, "memoryMiB" | "cpus" | "growth" | "identity">;
  readonly paths: VmPaths;
  readonly ram: { readonly file: string; readonly share: boolean };
  readonly disk: VmConfig["disk"];
  readonly kernel?: NonNullable<VmConfig["kernel"]>;
  readonly firmware?: NonNullable<VmConfig["firmware"]>;
  readonly seed?: string | undefined;
  readonly incoming?: boolean;
}

/** The one machine that substrates and their clones are: what may not differ between them is decided here. */
export function machineConfig(options: MachineOptions): VmConfig {
  const { paths, guest } = options;
  return {
    id: options.id,
    uuid: options.uuid,
    machine: MACHINE_TYPE,
    accelerator: options.accelerator,
    cpuModel: options.cpuModel,
    cpus: guest.cpus,
    ...(guest.growth === undefined ? {} : { growth: growthOf(guest.growth) }),
    memory: { file: options.ram.file, sizeMiB: guest.memoryMiB, share: options.ram.share },
    disk: options.disk,
    sockets: { qmp: paths.qmp, agent: paths.agent, helper: paths.helper },
    // The VM's own UUID: no other has it, and it is known from outside.
    ...(guest.identity.vmGenerationId ? { generationId: options.uuid } : {}),
    ...(options.kernel === undefined ? {} : { kernel: options.kernel }),
    ...(options.firmware === undefined ? {} : { firmware: options.firmware }),
    ...(options.seed === undefined ? {} : { seed: options.seed }),
    ...(options.incoming === undefined ? {} : { incoming: options.incoming }),
  };
}

function growthOf({ maxCpus, maxMemoryMiB }: GuestGrowth): MachineGrowth {
  return { maxCpus, maxMemoryMiB };
}

/** The arguments that must be the same in a substrate and its clones. */
export function deviceArguments(config: VmConfig): string[] {
  const argv = qemuArgv(config);
  const devices = argv.filter((_, i) => argv[i - 1] === "-device");
  return devices.filter((device) => !device.includes(`"${GENERATION_DRIVER}"`));
}
