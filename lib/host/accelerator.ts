import { access, constants, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { type Logger, messageOf } from "../core/index.ts";
import { bootId } from "./proc.ts";
import type { QemuBinary } from "./qemu-binary.ts";
import { runTool } from "./run-tool.ts";
import { ACCELERATORS, type Accelerator } from "./vm-config.ts";

const KVM_DEVICE = "/dev/kvm";
/** A KVM guest prints the canary's word within a second; one on a KVM that does not work never does. */
const CANARY_TIMEOUT_MS = 5000;
const REASON_MAX_CHARS = 160;
const CANARY_WORD = "vm-substrate-canary";

/** What TCG emulates fast: x86-64-v2 without the checks (SMAP, SMEP) that make emulated system calls slow. */
const TCG_CPU_MODEL = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+rdrand,+rdseed,+x2apic";

export function cpuModelFor(accelerator: Accelerator): string {
  return accelerator === "kvm" ? "host,migratable=on" : TCG_CPU_MODEL;
}

/** A kernel and initrd whose init prints CANARY_WORD and powers off when the kernel's command line has `canary=`. */
export interface Canary {
  readonly kernel: string;
  readonly initrd: string;
}

export interface AcceleratorVerdict {
  readonly accelerator: Accelerator;
  readonly reason: string;
}

interface StoredVerdict extends AcceleratorVerdict {
  readonly bootId: string;
  readonly qemuBuild: string;
}

/**
 * Decides the accelerator. `/dev/kvm` may open, answer, and still hang every stock kernel (a paravirtual KVM without
 * vmx or svm), so KVM is chosen only when a stock kernel boots under it within a deadline. The verdict is remembered
 * for this boot of the machine and this QEMU build.
 */
export async function decideAccelerator(
  qemu: QemuBinary,
  canary: Canary,
  verdictFile: string,
  options: { readonly signal?: AbortSignal | undefined; readonly logger: Logger },
): Promise<AcceleratorVerdict> {
  const known = await knownVerdict(qemu, verdictFile);
  if (known !== undefined) return known;
  const verdict = await tryKvm(qemu, canary, options.signal);
  options.logger[verdict.accelerator === "tcg" ? "warn" : "info"]({ ...verdict }, "accelerator decided");
  const stored: StoredVerdict = { ...verdict, bootId: await bootId(), qemuBuild: qemu.build };
  await mkdir(dirname(verdictFile), { recursive: true });
  await writeFile(`${verdictFile}.new`, JSON.stringify(stored));
  await rename(`${verdictFile}.new`, verdictFile);
  return verdict;
}

/** The verdict, where it needs no canary: no usable device, or one remembered. */
export async function knownVerdict(qemu: QemuBinary, verdictFile: string): Promise<AcceleratorVerdict | undefined> {
  const usable = await access(KVM_DEVICE, constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
  if (!usable) return { accelerator: "tcg", reason: `${KVM_DEVICE} is absent or closed to this user` };
  const stored = await readStored(verdictFile);
  if (stored?.bootId !== (await bootId()) || stored.qemuBuild !== qemu.build) return undefined;
  return { accelerator: stored.accelerator, reason: stored.reason };
}

async function readStored(verdictFile: string): Promise<StoredVerdict | undefined> {
  try {
    const stored: StoredVerdict = JSON.parse(await readFile(verdictFile, "utf8"));
    return ACCELERATORS.includes(stored.accelerator) ? stored : undefined;
  } catch {
    return undefined; // absent or damaged: it is only a cache
  }
}

async function tryKvm(qemu: QemuBinary, canary: Canary, signal: AbortSignal | undefined): Promise<AcceleratorVerdict> {
  const machine = [
    "-nodefaults",
    "-no-user-config",
    "-no-reboot",
    "-display",
    "none",
    "-m",
    "128M",
    "-serial",
    "stdio",
  ];
  const accelerator = ["-accel", "kvm", "-cpu", cpuModelFor("kvm")];
  const kernel = [
    "-kernel",
    canary.kernel,
    "-initrd",
    canary.initrd,
    "-append",
    "console=ttyS0 quiet panic=-1 canary=1",
  ];
  try {
    const timeoutMs = CANARY_TIMEOUT_MS;
    const output = await runTool([qemu.path, ...machine, ...accelerator, ...kernel], { timeoutMs, signal });
    if (output.includes(CANARY_WORD)) return { accelerator: "kvm", reason: "a canary guest booted under KVM" };
    return { accelerator: "tcg", reason: "a canary guest did not boot under KVM" };
  } catch (error) {
    signal?.throwIfAborted();
    const why = messageOf(error).replaceAll(/\s+/g, " ").slice(0, REASON_MAX_CHARS);
    return { accelerator: "tcg", reason: `${KVM_DEVICE} opens, but a canary guest did not boot under it (${why})` };
  }
}
