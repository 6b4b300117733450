import type { ActivateSpec, Pool } from "../../lib/pool/index.ts";

/** The call whose answer a client may miss: repeated, it must not make a second VM. */
export const KEYED: ActivateSpec = {
  substrate: "fake",
  network: { fabric: "mcast" },
  labels: { match: "1" },
  ttlMs: 3_600_000,
  files: [{ path: "/etc/motd", content: "hello\n" }],
  env: { MODE: "test" },
  run: { argv: ["true"] },
  idempotencyKey: "first-call",
};

/**
 * Takes a pool through everything that its VMs can live through, in a fixed order.
 *
 * @param say is told "handed ID" when a VM is its caller's, and "releasing ID" before that gives it back
 */
export async function liveALife(pool: Pool, say: (line: string) => void): Promise<void> {
  await pool.dock("fake", { min: 1 });
  await pool.docked("fake", { count: 1 });
  const [docked] = await pool.activate(1, KEYED);
  say(`handed ${docked?.id}`);
  await pool.dock("fake", { min: 0 });
  const resources = { cpus: 2, memoryMiB: 257, diskMiB: 64 };
  const byName: ActivateSpec = { substrate: "fake", hostname: "by-name", network: { fabric: "mcast" }, resources };
  const [cloned] = await pool.activate(1, byName);
  say(`handed ${cloned?.id}`);
  await cloned?.shrink({ memoryMiB: 129 });
  await pool.activate(1, { substrate: "fake", run: { argv: ["false"] } }).catch(() => {});
  await docked?.park();
  await docked?.resume();
  await docked?.extend(1_800_000);
  const [forked] = (await docked?.fork(1)) ?? [];
  say(`handed ${forked?.id}`);
  say(`releasing ${forked?.id}`);
  await forked?.release();
  say(`releasing ${cloned?.id}`);
  await cloned?.release();
  await pool.gc();
}
