import { type Logger, Reconnecting, VmSubstrateError } from "../core/index.ts";
import { QmpClient } from "../qmp/index.ts";

/** A QEMU that is alive greets in milliseconds; a stopped one never does. */
const RECONNECT_TIMEOUT_MS = 3000;

export interface MonitorOptions {
  readonly path: string;
  readonly logger: Logger;
  readonly client?: QmpClient;
}

/**
 * The monitor of one QEMU, for as long as that lives. A connection may be lost without the VM (a peer that talks nonsense is
 * cut off, an owner is replaced): the next command then makes a new one.
 */
export class Monitor implements AsyncDisposable {
  readonly #client: Reconnecting<QmpClient>;

  constructor({ path, logger, client }: MonitorOptions) {
    const connect = () => QmpClient.connect(path, { timeoutMs: RECONNECT_TIMEOUT_MS, logger });
    this.#client = new Reconnecting({ connect, isOpen: ({ closeCause }) => closeCause === undefined }, client);
  }

  /** As `QmpClient.execute`. @throws VmSubstrateError as that, and QMP_CONNECT when QEMU does not greet */
  readonly execute: QmpClient["execute"] = async (command: string, ...rest: unknown[]) => {
    const client = await this.#client.get();
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the property's own type is the overloads'
    return (client.execute as (...args: unknown[]) => Promise<never>).call(client, command, ...rest);
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.dispose(new VmSubstrateError("QMP_CLOSED", "the monitor was closed with its VM"));
  }
}
