import { exactPart, type KernelPart } from "../part.ts";

/** The interface's only IPv4 address: one that a primed clone held before is gone. */
export const ipv4: KernelPart = exactPart("ipv4", (asked, { address, prefixLength }, { interface: nic }) => {
  const answer = `${nic},${address},${prefixLength}`;
  return [{ operation: { name: "ipv4", value: asked === "set" ? answer : nic }, answer }];
});
