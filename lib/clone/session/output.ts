import { Readable } from "node:stream";
import { OUTPUT_WINDOW_BYTES } from "./frames.ts";

/** Credit is given back in this many pieces of a window, not for every few bytes. */
const CREDIT_STEPS = 8;

/** What a program prints. The guest is given credit for more when somebody reads it: nobody's unread output grows. */
export class SessionOutput extends Readable {
  readonly #giveCredit: (bytes: number) => void;
  readonly #stepBytes: number;
  /** What the guest may still send. */
  #credit: number;
  /** What was taken in, and not given back as credit yet. */
  #owed = 0;

  constructor(giveCredit: (bytes: number) => void, windowBytes = OUTPUT_WINDOW_BYTES) {
    super();
    this.#giveCredit = giveCredit;
    this.#credit = windowBytes;
    this.#stepBytes = windowBytes / CREDIT_STEPS;
    // Who reads hears of the session's failure; who does not is not ended by it.
    this.on("error", () => {});
  }

  /** @returns whether the guest had credit for it */
  accept(bytes: Buffer): boolean {
    this.#credit -= bytes.length;
    if (this.#credit < 0) return false;
    this.#owed += bytes.length;
    // Nobody reads what was destroyed: it is let through, so that the program does not stand still.
    if (this.destroyed || this.push(bytes)) this.#giveBack();
    return true;
  }

  override _read(): void {
    this.#giveBack();
  }

  #giveBack(): void {
    if (this.#owed < this.#stepBytes) return;
    this.#credit += this.#owed;
    this.#giveCredit(this.#owed);
    this.#owed = 0;
  }
}
