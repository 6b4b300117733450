import type { WriteStream } from "node:tty";

const FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";
const FRAME_MS = 80;
const CLEAR_LINE = "\r\x1b[2K";

/** What is going on, in one line: moving on a terminal, a line for each step elsewhere. */
export class StatusLine implements Disposable {
  readonly #stream: WriteStream;
  readonly #startedAt = performance.now();
  #text = "";
  #frame = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(stream: WriteStream) {
    this.#stream = stream;
  }

  show(text: string): void {
    this.#text = text;
    if (!this.#stream.isTTY) {
      this.#stream.write(`${text}\n`);
      return;
    }
    this.#timer ??= setInterval(() => this.#draw(), FRAME_MS).unref();
    this.#draw();
  }

  clear(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#stream.isTTY && this.#text !== "") this.#stream.write(CLEAR_LINE);
  }

  [Symbol.dispose](): void {
    this.clear();
  }

  #draw(): void {
    const seconds = ((performance.now() - this.#startedAt) / 1000).toFixed(1);
    const line = `${FRAMES[this.#frame++ % FRAMES.length]} ${seconds.padStart(5)} s  ${this.#text}`;
    this.#stream.write(CLEAR_LINE + line.slice(0, this.#stream.columns - 1));
  }
}
