import { readFile } from "node:fs/promises";
import { Reconnecting, VmSubstrateError } from "../core/index.ts";
import type { VmPaths } from "../host/index.ts";
import { CarriedHelper, type HelperChannel, ResidentHelper } from "../netcfg/index.ts";
import { GuestAgent } from "../qmp/index.ts";
import type { ChannelKind } from "./dependencies.ts";

const CONNECT_TIMEOUT_MS = 5000;

export interface GuestLinkOptions {
  readonly paths: VmPaths;
  readonly channel: ChannelKind;
  /** The guest's helper as a program, for guests into which the agent must carry it. */
  readonly helperProgram: string;
}

/**
 * The two ways of talking to a guest: its agent, and its helper. Each is connected anew when its connection was lost: a guest
 * that says too much loses its channel, not its VM, and a new owner has none yet.
 */
export class GuestLink implements AsyncDisposable {
  readonly #agent: Reconnecting<GuestAgent>;
  /** The helper's operations, by whichever channel the guest has. */
  readonly helper: HelperChannel;

  private constructor({ paths, channel, helperProgram }: GuestLinkOptions) {
    const connect = () => GuestAgent.connect(paths.agent, { timeoutMs: CONNECT_TIMEOUT_MS });
    this.#agent = new Reconnecting({ connect, isOpen: ({ closeCause }) => closeCause === undefined });
    this.helper = new LastingHelper(
      channel === "helper"
        ? () => ResidentHelper.connect(paths.helper, { timeoutMs: CONNECT_TIMEOUT_MS })
        : async () => new CarriedHelper(await this.agent(), await readFile(helperProgram)),
    );
  }

  /** To a guest that will be talked to later, if at all. */
  static lazily(options: GuestLinkOptions): GuestLink {
    return new GuestLink(options);
  }

  /**
   * To a guest that does not run yet: the agent sleeps 100 ms whenever it finds nobody at the other end of its port.
   * @throws VmSubstrateError GUEST_AGENT_CLOSED, GUEST_HELPER_FAILED, TIMEOUT
   */
  static async connect(options: GuestLinkOptions): Promise<GuestLink> {
    const link = new GuestLink(options);
    try {
      await Promise.all([link.agent(), options.channel === "helper" && (link.helper as LastingHelper).connected()]);
      return link;
    } catch (error) {
      await link[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** @throws VmSubstrateError GUEST_AGENT_CLOSED, TIMEOUT */
  agent(): Promise<GuestAgent> {
    return this.#agent.get();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.helper[Symbol.asyncDispose]();
    await this.#agent.dispose(new VmSubstrateError("GUEST_AGENT_CLOSED", "the agent's channel was closed with its VM"));
  }
}

/**
 * One request at a time, over a channel that is given up after any failure (what is still on its way is then unknown) and made
 * anew by the next.
 */
class LastingHelper implements HelperChannel {
  readonly #lasting: Reconnecting<HelperChannel>;
  #broken: HelperChannel | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(connect: () => Promise<HelperChannel>) {
    this.#lasting = new Reconnecting({ connect, isOpen: (channel) => channel !== this.#broken });
  }

  connected(): Promise<HelperChannel> {
    return this.#lasting.get();
  }

  request: HelperChannel["request"] = (operations, options) => {
    const answer = this.#last.then(async () => {
      const channel = await this.#lasting.get();
      try {
        return await channel.request(operations, options);
      } catch (error) {
        this.#broken = channel;
        await channel[Symbol.asyncDispose]();
        throw error;
      }
    });
    this.#last = answer.catch(() => {});
    return answer;
  };

  async [Symbol.asyncDispose](): Promise<void> {
    const reason = new VmSubstrateError("GUEST_HELPER_FAILED", "the helper's channel was closed with its VM");
    await this.#lasting.dispose(reason);
  }
}
