import { VmSubstrateError } from "../core/index.ts";
import { NIC_ID, type QemuInstance } from "../host/index.ts";
import type { PublicIdentity } from "../netcfg/index.ts";

/** What the guest cannot lie about: the MAC address that its NIC was programmed with. */
export async function verifyFromOutside(
  instance: QemuInstance,
  identity: Pick<PublicIdentity, "mac">,
  signal: AbortSignal,
): Promise<void> {
  const [filter] = await instance.qmp.execute("query-rx-filter", { name: NIC_ID }, { signal });
  const found = filter?.["main-mac"]?.toLowerCase();
  if (found === identity.mac) return;
  throw new VmSubstrateError("IDENTITY_UNVERIFIED", `the NIC's MAC address is "${found}", expected "${identity.mac}"`, {
    details: { part: "mac", expected: identity.mac, got: found },
  });
}

/** The id by which the guest's kernel knows that it is another VM than its substrate. Source: QMP reference, query-vm-generation-id. */
export async function verifyGeneration({ qmp }: QemuInstance, uuid: string, signal: AbortSignal): Promise<void> {
  const { guid } = await qmp.execute<{ guid: string }>("query-vm-generation-id", {}, { signal });
  if (guid === uuid) return;
  throw new VmSubstrateError("IDENTITY_UNVERIFIED", `the VM's generation id is "${guid}", expected "${uuid}"`, {
    details: { part: "vmGenerationId", expected: uuid, got: guid },
  });
}
