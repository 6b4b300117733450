/**
 * The key of one submission. It stays the same while what is submitted stays the same, so that a double click or a retry after an
 * answer that was lost makes nothing twice, and is another as soon as something else is asked for, or it was done.
 */
export class IdempotencyKey {
  readonly #make: () => string;
  #of: { readonly body: string; readonly key: string } | undefined;

  constructor(make: () => string = randomKey) {
    this.#make = make;
  }

  for(body: unknown): string {
    const text = JSON.stringify(body);
    if (this.#of?.body !== text) this.#of = { body: text, key: this.#make() };
    return this.#of.key;
  }

  /** What was submitted is done: the same again is a new wish. */
  done(): void {
    this.#of = undefined;
  }
}

/** `crypto.randomUUID` is missing where a page came by plain HTTP from another machine. */
function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `page-${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
