import type { Screen } from "../io.ts";
import { printable } from "./printable.ts";

const FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";
const FRAME_MS = 80;
const CLEAR_LINE = "\r\x1b[2K";

/** What is going on: one moving line on a terminal; elsewhere nothing, or with `verbose` a line for each step. */
export class Progress implements Disposable {
  readonly #screen: Screen;
  readonly #verbose: boolean;
  #startedAt = 0;
  #text = "";
  #frame = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(screen: Screen, verbose: boolean) {
    this.#screen = screen;
    this.#verbose = verbose;
  }

  show(text: string): void {
    if (text === this.#text) return;
    this.#text = text;
    if (!this.#screen.isTTY) {
      if (this.#verbose) this.#screen.write(`${printable(text)}\n`);
      return;
    }
    if (this.#timer === undefined) {
      this.#startedAt = performance.now();
      this.#timer = setInterval(() => this.#draw(), FRAME_MS).unref();
    }
    this.#draw();
  }

  clear(): void {
    if (this.#timer !== undefined) this.#screen.write(CLEAR_LINE);
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#text = "";
  }

  [Symbol.dispose](): void {
    this.clear();
  }

  #draw(): void {
    const seconds = ((performance.now() - this.#startedAt) / 1000).toFixed(1);
    const line = `${FRAMES[this.#frame++ % FRAMES.length]} ${seconds.padStart(5)} s  ${printable(this.#text)}`;
    this.#screen.write(CLEAR_LINE + line.slice(0, (this.#screen.columns ?? 80) - 1));
  }
}
