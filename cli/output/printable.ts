/** Escape sequences in labels, names or messages of guests would be obeyed by the terminal that shows them. */
const CONTROL = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

/** One line of text, with control characters escaped. */
export function printable(text: string): string {
  return text.replaceAll(CONTROL, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** As `printable`, of several lines. */
export function printableLines(text: string): string {
  return text.split("\n").map(printable).join("\n");
}
