import type { Io, Screen } from "../io.ts";
import { type Paint, paintFor } from "./colours.ts";
import { type ErrorStyle, errorText } from "./errors.ts";
import { printableLines } from "./printable.ts";
import { Progress } from "./progress.ts";
import { type Format, recordOf, records } from "./records.ts";
import { type Column, sheet, table } from "./table.ts";

export interface OutOptions {
  readonly format: Format;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly color: boolean;
}

/** What is said: results on standard output, all else on standard error. */
export class Out {
  readonly progress: Progress;
  readonly paint: Paint;
  readonly options: OutOptions;
  readonly #io: Io;
  #count = 0;

  constructor(io: Io, options: OutOptions) {
    this.#io = io;
    this.options = options;
    this.paint = paintFor(io.stdout, io.env, options.color);
    this.progress = new Progress(io.stderr, options.verbose);
  }

  get isTable(): boolean {
    return this.options.format === "table";
  }

  /** Several of a kind; with `--quiet` only what they are called. */
  async list<Row extends object>(rows: readonly Row[], columns: readonly Column<Row>[], idOf: (row: Row) => string) {
    const { format, quiet } = this.options;
    if (quiet) return this.text(rows.map((row) => `${idOf(row)}\n`).join(""));
    return this.text(format === "table" ? table(rows, columns, this.paint) : records(rows, format));
  }

  /** One thing, `shown` to people as its properties. */
  async one(value: object, shown: readonly (readonly [name: string, value: string])[]): Promise<void> {
    const { format } = this.options;
    return this.text(format === "table" ? sheet(shown, this.paint) : records(value, format));
  }

  /** One of many that come as they happen. */
  async next(value: object, line: string): Promise<void> {
    const { format } = this.options;
    return this.text(format === "table" ? `${line}\n` : recordOf(value, format, this.#count++ === 0));
  }

  /** Resolves when it is written, also when nobody reads it any more: that ends the command by itself. */
  async text(text: string | Uint8Array): Promise<void> {
    this.progress.clear();
    await written(this.#io.stdout, text);
  }

  /** A hint, for people: not with `--quiet`. */
  say(text: string): void {
    this.progress.clear();
    if (!this.options.quiet) this.#io.stderr.write(`${printableLines(text)}\n`);
  }

  error(error: unknown): void {
    this.progress.clear();
    const { format, verbose } = this.options;
    const style: ErrorStyle = { format, verbose, debug: this.#io.env.VM_SUBSTRATE_DEBUG === "1" };
    this.#io.stderr.write(errorText(error, style));
  }
}

function written(screen: Screen, text: string | Uint8Array): Promise<void> {
  if (text.length === 0) return Promise.resolve();
  return new Promise((resolve) => screen.write(text, () => resolve()));
}
