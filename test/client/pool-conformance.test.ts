import { openFakeDaemon } from "../support/fake-daemon.ts";
import { type FakeHost, openFakePool } from "../support/fake-host.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { itBehavesAsPool, type PoolTarget } from "../support/pool-conformance.ts";

type Opened = Pick<PoolTarget, "pool"> & { readonly host: FakeHost } & AsyncDisposable;

async function onFakeHost(opening: Promise<Opened>): Promise<PoolTarget> {
  const { host, pool, [Symbol.asyncDispose]: dispose } = await opening;
  return {
    pool,
    substrate: "fake",
    showsSize: ["cat"],
    kill: ({ pid }) => void process.kill(pid, "SIGKILL"),
    expectNothingLeft: () => expectNothingLeft(host.paths, { open: true }),
    [Symbol.asyncDispose]: dispose,
  };
}

itBehavesAsPool("a pool of this process", () => onFakeHost(openFakePool()));
itBehavesAsPool("a pool of a daemon", () => onFakeHost(openFakeDaemon()));
