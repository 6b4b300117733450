import { expect, it } from "vitest";
import { formatMiB, KIB, MIB } from "../../lib/core/index.ts";

it("writes bytes as MiB with one digit", () => {
  expect(formatMiB(0)).toBe("0.0 MiB");
  expect(formatMiB(512 * KIB)).toBe("0.5 MiB");
  expect(formatMiB(1536 * MIB)).toBe("1536.0 MiB");
});
