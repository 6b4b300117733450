import { expect, it } from "vitest";
import { planClones } from "../../lib/clone/index.ts";

const VALUES = Array.from({ length: 20 }, (_, i) => ({
  hostname: `n-${i}`,
  address: `10.0.0.${i + 1}`,
  mac: `02:00:00:00:00:${i + 10}`,
}));

it("planned clones share nothing but their network", () => {
  const plans = planClones(VALUES, 24, { kind: "none" });
  expect(plans.map(({ identity }) => identity.hostname)).toEqual(VALUES.map(({ hostname }) => hostname));
  const secrets = [
    plans.map(({ id }) => id),
    plans.map(({ uuid }) => uuid),
    plans.map(({ identity }) => identity.machineId),
    plans.map(({ identity }) => identity.entropy.toString("hex")),
    plans.map(({ identity }) => identity.sshHostKey.publicKey),
  ];
  for (const values of secrets) expect(new Set(values).size).toBe(plans.length);
  for (const { id, identity } of plans) {
    expect(id).toMatch(/^[a-z][a-z0-9]{11}$/);
    expect(identity.machineId).toMatch(/^[0-9a-f]{32}$/);
    expect(identity.entropy).toHaveLength(32);
    expect(identity.prefixLength).toBe(24);
  }
});
