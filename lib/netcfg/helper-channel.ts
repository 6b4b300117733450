import { randomBytes } from "node:crypto";
import { isVmSubstrateError, VmSubstrateError, withDeadline } from "../core/index.ts";
import { type GuestAgent, guestExec, LineSocket, writeGuestFile } from "../qmp/index.ts";
import {
  decodeAnswer,
  encodeRequest,
  HELPER_REQUEST_MAX_BYTES,
  type HelperAnswer,
  type HelperOperation,
} from "./helper-protocol.ts";

export interface RequestOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** A way to have the helper's operations done in a guest. */
export interface HelperChannel extends AsyncDisposable {
  /** @throws VmSubstrateError GUEST_HELPER_FAILED, TIMEOUT, ABORTED */
  request(operations: readonly HelperOperation[], options: RequestOptions): Promise<HelperAnswer>;
}

const CODES = { connect: "GUEST_HELPER_FAILED", closed: "GUEST_HELPER_FAILED" } as const;

/** The helper that runs in the guest already: one round trip and no process. */
export class ResidentHelper implements HelperChannel {
  readonly #socket: LineSocket;
  #onLine: ((line: Buffer) => void) | undefined;
  #onClose: ((error: VmSubstrateError) => void) | undefined;

  private constructor(socket: LineSocket) {
    this.#socket = socket;
    // An answer to nobody (stale, or the guest talking unasked) is dropped.
    socket.onLine((line) => this.#onLine?.(line));
    socket.onClose(() => this.#onClose?.(closed()));
  }

  static async connect(
    path: string,
    options: RequestOptions & { retryUntilPresent?: boolean },
  ): Promise<ResidentHelper> {
    return new ResidentHelper(
      await LineSocket.connect(path, { ...options, maxLineBytes: HELPER_REQUEST_MAX_BYTES, codes: CODES }),
    );
  }

  async request(operations: readonly HelperOperation[], options: RequestOptions): Promise<HelperAnswer> {
    if (this.#onLine !== undefined)
      throw new VmSubstrateError("GUEST_HELPER_FAILED", "the guest's helper is busy with another request");
    const id = randomBytes(8).toString("hex");
    const line = encodeRequest(id, operations);
    try {
      return await withDeadline({ what: "answer of the guest's helper", ...options }, async () => {
        const { promise, resolve, reject } = Promise.withResolvers<HelperAnswer>();
        this.#onClose = reject;
        this.#onLine = (received) => {
          try {
            const answer = decodeAnswer(id, operations, received.toString("latin1"));
            if (answer !== undefined) resolve(answer);
          } catch (error) {
            reject(error);
          }
        };
        promise.catch(() => {}); // the write may be the one to tell that the channel ended
        await this.#socket.write(line);
        return promise;
      });
    } finally {
      this.#onLine = undefined;
      this.#onClose = undefined;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#socket.close();
  }
}

function closed(): VmSubstrateError {
  return new VmSubstrateError("GUEST_HELPER_FAILED", "the channel to the guest's helper ended");
}

/** Tried in order: some guests mount one or another noexec. */
const CARRY_FOLDERS = ["/run", "/tmp", "/var/tmp", "/root"];

/**
 * For guests that have nothing but qemu-guest-agent: the agent carries the helper in and runs it for each request. The
 * operations and what is verified are the same; a fork in the guest comes on top.
 */
export class CarriedHelper implements HelperChannel {
  readonly #agent: GuestAgent;
  readonly #binary: Uint8Array;
  #path: string | undefined;

  /** @param binary the static helper, as built with the guest */
  constructor(agent: GuestAgent, binary: Uint8Array) {
    this.#agent = agent;
    this.#binary = binary;
  }

  async request(operations: readonly HelperOperation[], options: RequestOptions): Promise<HelperAnswer> {
    return withDeadline(
      { what: "helper carried in by the guest agent", timeoutCode: "GUEST_AGENT_TIMEOUT", ...options },
      async (signal) => {
        const within = { timeoutMs: options.timeoutMs, signal };
        if (this.#path !== undefined) return this.#run(this.#path, operations, within);
        return this.#carryAndRun(operations, within);
      },
    );
  }

  async #run(path: string, operations: readonly HelperOperation[], options: RequestOptions): Promise<HelperAnswer> {
    const id = randomBytes(8).toString("hex");
    const stdin = encodeRequest(id, operations);
    const result = await guestExec(this.#agent, [path, "--once"], { ...options, stdin });
    const line = Buffer.from(result.stdout).toString("latin1").trimEnd();
    const answer = decodeAnswer(id, operations, line);
    if (answer !== undefined) return answer;
    throw new VmSubstrateError(
      "GUEST_HELPER_FAILED",
      `the carried helper ended with status ${result.exitCode} and no answer`,
    );
  }

  /** The first request finds out which folder a program may be run from. */
  async #carryAndRun(operations: readonly HelperOperation[], options: RequestOptions): Promise<HelperAnswer> {
    let last: unknown;
    for (const folder of CARRY_FOLDERS) {
      const path = `${folder}/.substrate-helper`;
      try {
        await writeGuestFile(this.#agent, path, this.#binary, options);
        await guestExec(this.#agent, ["chmod", "700", path], options);
        const answer = await this.#run(path, operations, options);
        this.#path = path;
        return answer;
      } catch (error) {
        options.signal?.throwIfAborted();
        if (!isVmSubstrateError(error, "GUEST_COMMAND_FAILED")) throw error;
        last = error;
      }
    }
    const message = "the guest agent could not carry the helper in (is guest-exec allowed in its configuration?)";
    throw new VmSubstrateError("GUEST_HELPER_FAILED", message, { cause: last });
  }

  /** The carried file stays: removing it would cost another process, and a freeze's generalization takes /run along. */
  async [Symbol.asyncDispose](): Promise<void> {}
}
