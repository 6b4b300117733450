import { expect, it } from "vitest";
import { newId } from "../../lib/core/index.ts";

it("makes ids that are file names, host name labels and QEMU ids alike, each different", () => {
  const ids = Array.from({ length: 1000 }, newId);
  for (const id of ids) expect(id).toMatch(/^[a-z][a-z0-9]{11}$/);
  expect(new Set(ids).size).toBe(ids.length);
});
