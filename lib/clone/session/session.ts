import { constants } from "node:os";
import type { Readable, Writable } from "node:stream";
import { getSystemErrorMessage } from "node:util";
import { VmSubstrateError, validate } from "../../core/index.ts";
import { encodeCredit, encodeSize, type GuestWord, type SessionExit } from "./frames.ts";
import { SessionInput } from "./input.ts";
import { SessionOutput } from "./output.ts";
import { type LinkedSession, type SessionLink, sessionFailed } from "./session-link.ts";
import { type SessionRequest, sizeSchema, type TerminalSize } from "./session-options.ts";

/** For a program that is ended: the guest kills it after one second. */
const END_TIMEOUT_MS = 3000;

/** A program that runs in a guest, as if it ran here. Ended by `await using`, or when the program ends. */
export class Session implements AsyncDisposable, LinkedSession {
  /** `end()` is the end of the program's input; with a terminal, the character for that. */
  readonly stdin: Writable;
  /** With a terminal all that the program prints. The program stands still while much of it is unread. */
  readonly stdout: Readable;
  readonly stderr: Readable;
  /**
   * How the program ended, when all that it printed has come. Rejected when the session ended before that: SESSION_FAILED,
   * VM_GONE, ABORTED.
   */
  readonly exited: Promise<SessionExit>;
  readonly #exit = Promise.withResolvers<SessionExit>();
  readonly #started = Promise.withResolvers<void>();
  /** Settled as `exited`, also of a session that was given up on before. */
  readonly #told = Promise.withResolvers<void>();
  readonly #request: SessionRequest;
  readonly #link: SessionLink;
  readonly #number: number;
  readonly #input: SessionInput;
  readonly #outputs: { readonly stdout: SessionOutput; readonly stderr: SessionOutput };
  readonly #onEnd: () => Promise<void>;
  #left: Promise<void> | undefined;
  #isTold = false;

  /** @internal @param onEnd is called once @throws VmSubstrateError SESSION_FAILED when there are too many */
  constructor(link: SessionLink, request: SessionRequest, onEnd: () => Promise<void>) {
    this.exited = this.#exit.promise;
    for (const { promise } of [this.#exit, this.#started]) promise.catch(() => {});
    this.#request = request;
    this.#link = link;
    this.#number = link.enter(this);
    this.#onEnd = onEnd;
    this.#input = new SessionInput({
      send: (bytes) => link.send("stdin", this.#number, bytes),
      sendEnd: () => link.send("stdinEnd", this.#number),
    });
    const output = (name: "stdout" | "stderr") =>
      new SessionOutput((bytes) => link.send("credit", this.#number, encodeCredit(name, bytes)));
    this.#outputs = { stdout: output("stdout"), stderr: output("stderr") };
    this.stdin = this.#input;
    this.stdout = this.#outputs.stdout;
    this.stderr = this.#outputs.stderr;
    link.send("open", this.#number, request.start);
  }

  /** Resolves when the program runs. @throws VmSubstrateError GUEST_COMMAND_FAILED when it does not @internal */
  get started(): Promise<void> {
    return this.#started.promise;
  }

  /** Tells the program that its terminal has another size now. @throws VmSubstrateError INVALID_ARGUMENT, also without a terminal */
  resize(size: TerminalSize): void {
    const valid = validate(sizeSchema, size, "resize");
    if (!this.#request.hasTerminal) {
      throw new VmSubstrateError("INVALID_ARGUMENT", "resize: the session has no terminal; open it with tty");
    }
    this.#say("resize", encodeSize(valid));
  }

  /**
   * Sends a signal to the program's process group; with a terminal, to that in its foreground. Nothing happens when the
   * program has ended.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT for a signal that there is not
   */
  kill(signal: NodeJS.Signals | number = "SIGTERM"): void {
    const number = typeof signal === "number" ? signal : constants.signals[signal];
    if (!Object.values(constants.signals).includes(number)) {
      throw new VmSubstrateError("INVALID_ARGUMENT", `kill: there is no signal ${String(signal)}`);
    }
    this.#say("signal", Buffer.of(number));
  }

  /**
   * Ends the program and all that it has started in its session, by SIGHUP and a second later by SIGKILL. Resolves when
   * nothing of the session is left. Idempotent.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#left === undefined) {
      this.#say("close");
      const timer = setTimeout(
        () => this.fail(sessionFailed("the guest did not end the program in time")),
        END_TIMEOUT_MS,
      );
      await this.#told.promise;
      clearTimeout(timer);
    }
    await this.#left;
  }

  /** Gives it up, for a reason that is not the program's. @internal */
  fail(why: VmSubstrateError): void {
    if (this.#left !== undefined) return;
    this.#say("close");
    this.#started.reject(why);
    this.#exit.reject(why);
    for (const output of Object.values(this.#outputs)) output.destroy(why);
    this.#leave();
  }

  /** @internal */
  onWord(word: GuestWord): void {
    if (this.#left !== undefined) return; // given up on: what it still says concerns nobody
    const { stdout, stderr } = this.#outputs;
    switch (word.type) {
      case "started":
        this.#started.resolve();
        return;
      case "stdout":
      case "stderr":
        if (!this.#outputs[word.type].accept(word.bytes))
          throw new TypeError(`more of ${word.type} than it had credit for`);
        return;
      case "stdinCredit":
        if (!this.#input.giveCredit(word.bytes)) throw new TypeError("credit for more than it was sent");
        return;
      case "exited": {
        const { exitCode, signal } = word;
        this.#isTold = true;
        stdout.push(null);
        stderr.push(null);
        this.#started.resolve();
        this.#exit.resolve({ exitCode, signal });
        this.#leave();
        return;
      }
      case "failed":
        this.#isTold = true;
        this.fail(startFailed(this.#request, word));
    }
  }

  #say(type: "resize" | "signal" | "close", payload?: Uint8Array): void {
    if (!this.#isTold && this.#left === undefined) this.#link.send(type, this.#number, payload);
  }

  #leave(): void {
    this.#input.destroy();
    this.#left = this.#onEnd();
    this.#left.catch(() => {});
    this.#told.resolve();
  }
}

function startFailed(
  { program, folder }: SessionRequest,
  { step, errno }: Extract<GuestWord, { type: "failed" }>,
): VmSubstrateError {
  const why = errno === 0 ? "unknown error" : getSystemErrorMessage(-errno);
  const what = { program: `start ${program}`, folder: `enter ${folder}`, resources: `make room for ${program}` }[step];
  const message = `session: the guest could not ${what}: ${why}`;
  return new VmSubstrateError("GUEST_COMMAND_FAILED", message, { details: { step, errno } });
}
