import { expect, it } from "vitest";
import { VmLedger } from "../../lib/pool/vm-ledger.ts";
import type { VmRecord } from "../../lib/pool/vm-record.ts";
import { MemoryStore } from "../support/memory-store.ts";

const RECORD: VmRecord = {
  id: "a",
  uuid: "00000000-0000-0000-0000-000000000000",
  phase: "running",
  bootId: "boot",
  substrate: { name: "fake", version: 1 },
  resources: { cpus: 1, memoryMiB: 1, diskMiB: 8, addedMemoryMiB: 0 },
  channel: "helper",
  target: { interface: "eth0", identity: { ipv6: true } },
  fabric: "none",
  origin: "cloned",
  createdAt: "2026-01-01T00:00:00.000Z",
  labels: {},
  env: {},
  lifetime: { onExpiry: "release" },
};

it("changes of one record that overlap are all kept", async () => {
  const store = new MemoryStore();
  const ledger = await VmLedger.open(store);
  await ledger.commit({ put: [RECORD] });
  await Promise.all([
    ledger.update("a", { instants: ["one"] }),
    ledger.update("a", { lifetime: { onExpiry: "park" } }),
    ledger.update("a", { phase: "parked" }),
  ]);
  const kept = { instants: ["one"], lifetime: { onExpiry: "park" }, phase: "parked" };
  expect(ledger.get("a")).toMatchObject(kept);
  expect((await VmLedger.open(store)).get("a")).toMatchObject(kept);
});
