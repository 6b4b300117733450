import type { VmConfig, VmPaths } from "../host/index.ts";
import { clonesFirmware, type LoadedSubstrate, machineConfig } from "../substrate/index.ts";
import type { ClonePlan } from "./plan.ts";

/**
 * The QEMU that loads a substrate: its machine, with private RAM, and an overlay on its disk.
 * @param overlay as QEMU is to call it
 */
export function cloneConfig(
  { id, uuid }: Pick<ClonePlan, "id" | "uuid">,
  { manifest, substrate, ramFile }: LoadedSubstrate,
  paths: VmPaths,
  overlay: string = paths.overlay,
): VmConfig {
  return machineConfig({
    id,
    uuid,
    accelerator: manifest.accelerator,
    cpuModel: manifest.cpuModel,
    guest: manifest.guest,
    paths,
    ram: { file: ramFile, share: false },
    disk: { file: overlay, backingFile: substrate.paths.disk },
    ...clonesFirmware(manifest.files),
    incoming: true,
  });
}
