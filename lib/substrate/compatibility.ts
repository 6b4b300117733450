import { randomUUID } from "node:crypto";
import { newId, VmSubstrateError } from "../core/index.ts";
import { cpuModelFor, knownVerdict, type Paths, type QemuBinary } from "../host/index.ts";
import { deviceArguments, MACHINE_TYPE, machineConfig } from "./machine.ts";
import type { Manifest } from "./manifest.ts";

/**
 * Device state is only loaded by the very QEMU build, machine and CPU that saved it: QEMU itself notices few differences,
 * and the guest crashes on the rest.
 *
 * @throws VmSubstrateError SUBSTRATE_INCOMPATIBLE naming the first field that differs
 */
export async function requireCompatible(manifest: Manifest, qemu: QemuBinary, paths: Paths): Promise<void> {
  const verdict = await knownVerdict(qemu, paths.acceleratorVerdict);
  // TCG is everywhere; KVM may be gone since.
  const accelerator = manifest.accelerator === "kvm" ? (verdict?.accelerator ?? "kvm") : manifest.accelerator;
  const fields: [string, string, string][] = [
    ["qemu.build", manifest.qemu.build, qemu.build],
    ["machine", manifest.machine, MACHINE_TYPE],
    ["accelerator", manifest.accelerator, accelerator],
    ["cpuModel", manifest.cpuModel, cpuModelFor(manifest.accelerator)],
    ["devices", JSON.stringify(manifest.devices), JSON.stringify(clonesDevices(manifest, paths))],
  ];
  for (const [field, frozen, found] of fields) {
    if (frozen === found) continue;
    throw new VmSubstrateError(
      "SUBSTRATE_INCOMPATIBLE",
      `substrate ${manifest.name} ${manifest.version} was frozen with ${field} "${frozen}", here it is "${found}"; build it again`,
      { details: { field, frozen, found } },
    );
  }
}

/** The devices that a clone of this version of the library would have. */
function clonesDevices(manifest: Manifest, paths: Paths): string[] {
  const id = newId();
  return deviceArguments(
    machineConfig({
      id,
      uuid: randomUUID(),
      accelerator: manifest.accelerator,
      cpuModel: manifest.cpuModel,
      guest: manifest.guest,
      paths: paths.vm(id),
      ram: { file: paths.loadedRam(manifest.name, manifest.version), share: false },
      disk: { file: paths.vm(id).overlay },
    }),
  );
}
