import { openFakeDaemon } from "../support/fake-daemon.ts";
import { openFakePool } from "../support/fake-host.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { itBehavesAsPool } from "../support/pool-conformance.ts";

const kill = ({ pid }: { readonly pid: number }) => void process.kill(pid, "SIGKILL");

itBehavesAsPool("a pool of this process", async () => {
  const { host, pool, [Symbol.asyncDispose]: dispose } = await openFakePool();
  const nothingLeft = () => expectNothingLeft(host.paths, { open: true });
  return {
    pool,
    substrate: "fake",
    showsSize: ["cat"],
    kill,
    expectNothingLeft: nothingLeft,
    [Symbol.asyncDispose]: dispose,
  };
});

itBehavesAsPool("a pool of a daemon", async () => {
  const { host, pool, [Symbol.asyncDispose]: dispose } = await openFakeDaemon();
  const nothingLeft = () => expectNothingLeft(host.paths, { open: true });
  return {
    pool,
    substrate: "fake",
    showsSize: ["cat"],
    kill,
    expectNothingLeft: nothingLeft,
    [Symbol.asyncDispose]: dispose,
  };
});
