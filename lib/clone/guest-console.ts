import { z } from "zod";
import { signalSchema, validate, withDeadline } from "../core/index.ts";
import { type QemuInstance, takeConsole } from "../host/index.ts";
import { shownLines } from "../qmp/index.ts";

export interface ConsoleOptions {
  /** Most bytes of the console's end, as the guest wrote them. Default 65 536, which is also the most. */
  readonly maxBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** As much as QEMU itself keeps of what nobody has read. */
const CONSOLE_KEPT_BYTES = 65_536;
const CONSOLE_TIMEOUT_MS = 5000;

const optionsSchema = z.strictObject({
  maxBytes: z.int().min(1).max(CONSOLE_KEPT_BYTES).default(CONSOLE_KEPT_BYTES),
  signal: signalSchema.optional(),
});

/** The serial console of one VM. QEMU forgets what was read: it is kept here, for whoever reads after that. */
export class GuestConsole {
  readonly #instance: QemuInstance;
  #kept: Buffer = Buffer.alloc(0);

  constructor(instance: QemuInstance) {
    this.#instance = instance;
  }

  /** @throws VmSubstrateError INVALID_ARGUMENT, QEMU_EXITED, QMP_*, TIMEOUT, ABORTED */
  async tail(options: ConsoleOptions): Promise<string> {
    const { maxBytes, signal } = validate(optionsSchema, options, "console");
    const { process } = this.#instance;
    // The signal ends the waiting and not the reading: what QEMU has given by then would be lost.
    await withDeadline({ what: "console", timeoutMs: CONSOLE_TIMEOUT_MS, signal }, () =>
      process.guard("console", this.#read()),
    );
    return shownLines(withoutHalfCharacter(this.#kept.subarray(-maxBytes)).toString("utf8"));
  }

  async #read(): Promise<void> {
    const bytes = await takeConsole(this.#instance.qmp, { timeoutMs: CONSOLE_TIMEOUT_MS });
    // A copy: a part would keep the whole of what it was cut from.
    this.#kept = Buffer.from(Buffer.concat([this.#kept, bytes]).subarray(-CONSOLE_KEPT_BYTES));
  }
}

/** What was cut, or overwritten in QEMU, may begin inside of a character of UTF-8: after its first byte come at most three. */
function withoutHalfCharacter(bytes: Buffer): Buffer {
  let begin = 0;
  while (begin < 3 && ((bytes[begin] ?? 0) & 0xc0) === 0x80) begin++;
  return bytes.subarray(begin);
}
