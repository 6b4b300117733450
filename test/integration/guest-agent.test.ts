import { afterAll, beforeAll } from "vitest";
import { describeGuestAgentConformance } from "../support/guest-agent-conformance.ts";
import { loadLabSubstrate } from "../support/raw-clone.ts";

// The real agent in a real guest passes what the fake one passes.
let lab: Awaited<ReturnType<typeof loadLabSubstrate>>;
let running: Awaited<ReturnType<typeof lab.launch>>;

beforeAll(async () => {
  lab = await loadLabSubstrate();
  running = await lab.launch();
  // QEMU serves one connection to the agent's socket: each test makes its own.
  await running.agent.close();
});

afterAll(async () => {
  await running[Symbol.asyncDispose]();
  await lab[Symbol.asyncDispose]();
});

describeGuestAgentConformance("qemu-guest-agent in mini", async () => ({
  path: running.clone.instance.paths.agent,
  [Symbol.asyncDispose]: async () => {},
}));
