import type { VmConfig } from "../host/index.ts";
import type { GuestProfile } from "./recipe.ts";

/** What a guest can be booted by, beside its disk. */
export type BootFile = "kernel" | "initrd" | "firmwareCode" | "firmwareVars";

type Booting = Pick<GuestProfile, "firmware">;

const BIOS: readonly BootFile[] = []; // SeaBIOS comes with QEMU
const UEFI: readonly BootFile[] = ["firmwareCode", "firmwareVars"];
const KERNEL: readonly BootFile[] = ["kernel", "initrd"];
const ALL = [...KERNEL, ...UEFI];

/** The files that a guest needs to boot. */
export function bootFilesOf({ firmware }: Booting): readonly BootFile[] {
  if (firmware === undefined) return KERNEL;
  return firmware === "uefi" ? UEFI : BIOS;
}

/** Whether there are files for just what a guest boots by. */
export function bootFilesFit(guest: Booting, files: Readonly<Partial<Record<BootFile, unknown>>>): boolean {
  const needed = bootFilesOf(guest);
  return ALL.every((file) => (files[file] !== undefined) === needed.includes(file));
}

/** How a machine boots a guest. The variables of a UEFI firmware are written to, and must be its own. */
export function bootedBy(
  { firmware, kernelCommandLine }: Booting & Pick<GuestProfile, "kernelCommandLine">,
  files: Readonly<Record<BootFile, string>>,
): Pick<VmConfig, "kernel" | "firmware"> {
  if (firmware === undefined) {
    return { kernel: { image: files.kernel, initrd: files.initrd, commandLine: kernelCommandLine } };
  }
  if (firmware === "bios") return {};
  return { firmware: { code: { file: files.firmwareCode }, vars: { file: files.firmwareVars } } };
}

/** Of a manifest's files. */
interface Flashes {
  readonly firmwareCode?: { readonly sizeBytes: number } | undefined;
  readonly firmwareVars?: { readonly sizeBytes: number } | undefined;
}

/** The flash chips of a clone, whose content comes with its substrate's state. */
export function clonesFirmware({ firmwareCode: code, firmwareVars: vars }: Flashes): Pick<VmConfig, "firmware"> {
  if (code === undefined || vars === undefined) return {};
  return { firmware: { code: { sizeBytes: code.sizeBytes }, vars: { sizeBytes: vars.sizeBytes } } };
}
