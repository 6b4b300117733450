import type { ActivateBody, DockView, MemoryUseView } from "../api/index.ts";
import type { ActivateSpec, DockStatus, FileSpec, MemoryUse } from "../lib/index.ts";

/** Between what the library has and what goes over the wire. */
export function dockOf({ maxMiB, memoryMiB, lastError, ...status }: DockView): DockStatus {
  const unknown = { maxMiB: maxMiB ?? undefined, memoryMiB: memoryMiB ?? undefined, lastError: lastError ?? undefined };
  return Object.freeze({ ...status, ...unknown });
}

export function memoryOf({ budgetBytes, ...use }: MemoryUseView): MemoryUse {
  return Object.freeze({ ...use, budgetBytes: budgetBytes ?? undefined });
}

export function specBody({ files, idempotencyKey: _inHeader, ...spec }: ActivateSpec): ActivateBody["spec"] {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- read-only lists; the daemon validates every value
  return { ...spec, ...(files === undefined ? {} : { files: files.map(fileBody) }) } as ActivateBody["spec"];
}

function fileBody({ path, content, mode }: FileSpec) {
  return typeof content === "string"
    ? { path, content, mode }
    : { path, contentBase64: Buffer.from(content).toString("base64"), mode };
}
