import { filePart } from "../file-part.ts";
import { exactPart, type KernelPart } from "../part.ts";

/** What the kernel says: uname(2). */
export const hostname: KernelPart = exactPart("hostname", (asked, identity) => [
  { operation: { name: "hostname", value: asked === "set" ? identity.hostname : "" }, answer: identity.hostname },
]);

/** hostname(5): what the next boot, and programs that do not ask the kernel, take. */
export const hostnameFile = filePart("hostname file", ({ hostname: name }, { identity: { hostname: path } }) =>
  path === undefined ? [] : [{ path, mode: 0o644, content: `${name}\n` }],
);
