import { exactPart, type KernelPart } from "../part.ts";

/** virtio-net's state brings the substrate's MAC address along, whatever the command line says, so it is set inside. */
export const mac: KernelPart = exactPart("mac", (asked, identity, { interface: nic }) => {
  const answer = `${nic},${identity.mac}`;
  return [{ operation: { name: "mac", value: asked === "set" ? answer : nic }, answer }];
});
