import { expect, it } from "vitest";
import { randomMac } from "../../lib/netcfg/mac.ts";

it("randomMac gives unicast, locally administered addresses that do not repeat", () => {
  const macs = Array.from({ length: 2000 }, randomMac);
  for (const mac of macs) {
    expect(mac).toMatch(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/);
    const first = Number.parseInt(mac.slice(0, 2), 16);
    expect(first & 1, "unicast").toBe(0);
    expect(first & 2, "locally administered").toBe(2);
  }
  expect(new Set(macs).size).toBe(macs.length);
});
