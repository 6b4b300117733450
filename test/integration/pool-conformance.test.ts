import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { connect } from "../../client/index.ts";
import { Daemon } from "../../daemon/index.ts";
import { Pool } from "../../lib/index.ts";
import { labDirectories } from "../support/lab.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { itBehavesAsPool, type PoolTarget } from "../support/pool-conformance.ts";

/** Its own: what one of these finds in the catalog is not for other tests to change. */
let directories: { stateDir: string; cacheDir: string };
beforeAll(async () => {
  const stateDir = await mkdtemp(join(tmpdir(), "vm-conformance-"));
  directories = { stateDir, cacheDir: labDirectories().cacheDir };
  await using pool = await Pool.open(directories);
  await pool.build({ recipe: "mini" });
});
afterAll(() => rm(directories.stateDir, { recursive: true, force: true }));

const OPTIONS = { accelerator: "tcg", addressQuarantineMs: 0 } as const;
const SHOWS_SIZE = ["sh", "-c", "while :; do stty size; sleep 0.1; done"];

/** What both have in common; the pool is disposed of by who opened it. */
function targetOf(pool: PoolTarget["pool"], undo: AsyncDisposableStack): PoolTarget {
  return {
    pool,
    substrate: "mini",
    showsSize: SHOWS_SIZE,
    kill: ({ pid }) => void process.kill(pid, "SIGKILL"),
    expectNothingLeft: () => expectNothingLeft(directories, { open: true }),
    async [Symbol.asyncDispose]() {
      await Promise.all(pool.vms.map((vm) => vm.release()));
      await undo.disposeAsync();
      await expectNothingLeft(directories);
    },
  };
}

itBehavesAsPool("a pool of this process, with real guests", async () => {
  const undo = new AsyncDisposableStack();
  const pool = undo.use(await Pool.open({ ...directories, ...OPTIONS }));
  return targetOf(pool, undo);
});

itBehavesAsPool("a pool of a daemon, with real guests", async () => {
  await using undo = new AsyncDisposableStack();
  undo.use(await Daemon.start({ ...directories, ...OPTIONS, log: { level: "silent" } }));
  const pool = undo.use(await connect({ stateDir: directories.stateDir }));
  return targetOf(pool, undo.move());
});
