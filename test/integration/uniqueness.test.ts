import { expect, test } from "vitest";
import { personalise } from "../../lib/netcfg/index.ts";
import { type GuestAgent, guestExec } from "../../lib/qmp/index.ts";
import { loadLabSubstrate } from "../support/raw-clone.ts";

async function randomBytesOf(agent: GuestAgent): Promise<string> {
  const { stdout } = await guestExec(agent, ["head", "-c", "16", "/dev/urandom"], { timeoutMs: 10_000 });
  return Buffer.from(stdout).toString("hex");
}

test("two clones read equal bytes from /dev/urandom when nothing was done, and different ones with an identity", async () => {
  await using lab = await loadLabSubstrate();
  const raw: string[] = [];
  const personal: string[] = [];
  for (let i = 0; i < 2; i++) {
    await using launched = await lab.launch();
    raw.push(await randomBytesOf(launched.clone.agent));
  }
  expect(raw[0]).toBe(raw[1]);

  for (let i = 0; i < 2; i++) {
    await using launched = await lab.launch();
    const { interface: nic, sshHostKey } = lab.substrate.manifest.guest;
    const target = { interface: nic, sshHostKey };
    await personalise(launched.clone.helper, launched.plan.identity, target, { timeoutMs: 10_000 });
    personal.push(await randomBytesOf(launched.clone.agent));
  }
  expect(new Set([...personal, raw[0]]).size).toBe(3);
});

test("a clone wakes without a link, before anything could be said to it", async () => {
  await using lab = await loadLabSubstrate();
  await using launched = await lab.launch();
  const [carrier] = await launched.clone.helper.request([{ name: "carrier", value: "eth0,0" }], { timeoutMs: 5000 });
  expect(carrier).toBe("eth0,0");
});
