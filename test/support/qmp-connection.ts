import { QmpClient, type QmpClose, type QmpConnectOptions } from "../../lib/qmp/index.ts";
import { FakeServer } from "./fake-line-server.ts";
import { FakeQmp, type FakeQmpOptions } from "./fake-qmp-server.ts";

/** A client, and the fake QEMU at the other end. */
export interface Connected extends AsyncDisposable {
  readonly client: QmpClient;
  readonly qemu: FakeQmp;
  readonly server: FakeServer;
  /** Every `close` that was emitted. */
  readonly closes: QmpClose[];
  readonly closed: Promise<QmpClose>;
}

export async function connected(options: FakeQmpOptions = {}, connect: QmpConnectOptions = {}): Promise<Connected> {
  const qemu = new FakeQmp(options);
  const server = await FakeServer.listen(qemu.protocol);
  const client = await QmpClient.connect(server.path, connect);
  const closes: QmpClose[] = [];
  const { promise: closed, resolve } = Promise.withResolvers<QmpClose>();
  client.events.on("close", (close) => {
    closes.push(close);
    resolve(close);
  });
  const stop = async () => {
    await client.close();
    await server.close();
  };
  return { client, qemu, server, closes, closed, [Symbol.asyncDispose]: stop };
}
