import { connect } from "../../client/index.ts";
import { Daemon } from "../../daemon/index.ts";
import { Pool } from "../../lib/index.ts";
import { labDirectories } from "../support/lab.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { itBehavesAsPool, type PoolTarget } from "../support/pool-conformance.ts";

const OPTIONS = { accelerator: "tcg", addressQuarantineMs: 0 } as const;
const SHOWS_SIZE = ["sh", "-c", "while :; do stty size; sleep 0.1; done"];

/** What both have in common; the pool is disposed of by who opened it. */
function targetOf(pool: PoolTarget["pool"], undo: AsyncDisposableStack): PoolTarget {
  return {
    pool,
    substrate: "mini",
    showsSize: SHOWS_SIZE,
    kill: ({ pid }) => void process.kill(pid, "SIGKILL"),
    expectNothingLeft: () => expectNothingLeft(labDirectories(), { open: true }),
    async [Symbol.asyncDispose]() {
      await Promise.all(pool.vms.map((vm) => vm.release()));
      await undo.disposeAsync();
      await expectNothingLeft(labDirectories());
    },
  };
}

itBehavesAsPool("a pool of this process, with real guests", async () => {
  const undo = new AsyncDisposableStack();
  const pool = undo.use(await Pool.open({ ...labDirectories(), ...OPTIONS }));
  return targetOf(pool, undo);
});

itBehavesAsPool("a pool of a daemon, with real guests", async () => {
  await using undo = new AsyncDisposableStack();
  undo.use(await Daemon.start({ ...labDirectories(), ...OPTIONS, log: { level: "silent" } }));
  const pool = undo.use(await connect({ stateDir: labDirectories().stateDir }));
  return targetOf(pool, undo.move());
});
