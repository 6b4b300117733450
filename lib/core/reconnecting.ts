/** How a connection is made, and known to be of no more use. */
export interface Connector<Connection extends AsyncDisposable> {
  readonly connect: () => Promise<Connection>;
  readonly isOpen: (connection: Connection) => boolean;
}

/**
 * A connection that is made anew, by whoever next needs it, when the last one was lost. Those who need it at the same time
 * share one attempt. After disposal every attempt fails.
 */
export class Reconnecting<Connection extends AsyncDisposable> implements AsyncDisposable {
  readonly #connector: Connector<Connection>;
  #current: Connection | undefined;
  #connecting: Promise<Connection> | undefined;
  readonly #disposal = Promise.withResolvers<never>();
  #disposed: Error | undefined;

  /** @param current a connection that there is already */
  constructor(connector: Connector<Connection>, current?: Connection) {
    this.#disposal.promise.catch(() => {}); // mostly there is nobody to tell
    this.#connector = connector;
    this.#current = current;
  }

  /** @throws whatever connecting throws, or the reason of the disposal */
  async get(): Promise<Connection> {
    if (this.#disposed !== undefined) throw this.#disposed;
    if (this.#current !== undefined && this.#connector.isOpen(this.#current)) return this.#current;
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined;
    });
    return Promise.race([this.#connecting, this.#disposal.promise]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose(new Error("the connection was closed"));
  }

  /** Waits for no attempt to connect: who waits for one fails now, and what it makes is closed. @param reason of all that fails */
  async dispose(reason: Error): Promise<void> {
    this.#disposed ??= reason;
    this.#disposal.reject(this.#disposed);
    await this.#current?.[Symbol.asyncDispose]();
    this.#current = undefined;
  }

  async #connect(): Promise<Connection> {
    const connection = await this.#connector.connect();
    if (this.#disposed !== undefined) {
      await connection[Symbol.asyncDispose]();
      throw this.#disposed;
    }
    this.#current = connection;
    return connection;
  }
}
