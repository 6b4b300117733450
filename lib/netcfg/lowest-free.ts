/** Values that have numbers, from 0 without a gap: addresses of a subnet, names of a pattern. */
export interface Numbered {
  /** Equal for equal spaces. */
  readonly name: string;
  readonly capacity: number;
  at(number: number): string;
  /** Undefined for a value that is not of this space. */
  numberOf(value: string): number | undefined;
}

/**
 * Finds the lowest free values of a space without going through all that are taken: what was never looked at lies above a
 * mark, and what became free below it is kept in order. Whether a value is free is asked when it is about to be given, so
 * that nothing needs to be told here when one is taken; only that one may be free again.
 */
export class LowestFree {
  readonly space: Numbered;
  /** Numbers below the mark that may be free, in order, each once. Every free number below the mark is among them. */
  readonly #candidates: number[] = [];
  #mark = 0;

  constructor(space: Numbered) {
    this.space = space;
  }

  /** Up to `count` values, lowest first. They stay findable for as long as they are free. */
  find(count: number, isFree: (value: string) => boolean): string[] {
    const found: string[] = [];
    const numbers: number[] = [];
    const look = (number: number) => {
      const value = this.space.at(number);
      if (!isFree(value)) return;
      found.push(value);
      numbers.push(number);
    };
    let looked = 0;
    for (; found.length < count && looked < this.#candidates.length; looked++) {
      look(this.#candidates[looked] as number);
    }
    this.#candidates.splice(0, looked, ...numbers.splice(0));
    for (; found.length < count && this.#mark < this.space.capacity; this.#mark++) look(this.#mark);
    this.#candidates.push(...numbers);
    return found;
  }

  /** To be told of every value that becomes free. */
  freed(value: string): void {
    const number = this.space.numberOf(value);
    if (number === undefined || number >= this.#mark) return;
    const at = this.#placeOf(number);
    if (this.#candidates[at] !== number) this.#candidates.splice(at, 0, number);
  }

  /** The index of the first candidate that is not smaller. */
  #placeOf(number: number): number {
    let low = 0;
    let high = this.#candidates.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#candidates[middle] as number) < number) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
