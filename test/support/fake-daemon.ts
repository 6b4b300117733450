import { connect, type RemotePool } from "../../client/index.ts";
import { type ConfigInput, Daemon } from "../../daemon/index.ts";
import { FakeHost } from "./fake-host.ts";
import { addFakeSubstrate } from "./fake-substrate.ts";

/** What a daemon's configuration has of the options of a fake host's pool. */
export function fakeConfig(host: FakeHost, more: ConfigInput = {}): ConfigInput {
  const own = { qemu: host.qemu.path, accelerator: "tcg", addressQuarantineMs: 0 } as const;
  return { ...host.directories, ...own, log: { level: "silent" }, ...more };
}

export interface FakeDaemon extends AsyncDisposable {
  readonly host: FakeHost;
  readonly daemon: Daemon;
  /** Connected to it by its socket. */
  readonly pool: RemotePool;
}

/** A daemon on a fake QEMU, with one substrate, "fake". */
export async function openFakeDaemon(more: ConfigInput = {}): Promise<FakeDaemon> {
  await using undo = new AsyncDisposableStack();
  const host = undo.use(await FakeHost.create());
  const daemon = undo.use(await Daemon.start(fakeConfig(host, more)));
  await addFakeSubstrate(host.paths);
  const pool = undo.use(await connect(host.directories));
  const owned = undo.move();
  return { host, daemon, pool, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
