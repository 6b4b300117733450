const MAX_SHOWN_CHARACTERS = 300;
/** What moves a cursor, forges lines or turns text around: control, format and unpaired surrogate characters. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const ESCAPE = "\u001b";
/** Colours and movements of a terminal. Source: ECMA-48, 5.4, control sequences. */
const CONTROL_SEQUENCE = new RegExp(`${ESCAPE}\\[[0-?]*[ -/]*[@-~]`, "g");

/**
 * Text of a guest or of QEMU, made fit for messages and logs: cut to 300 characters, and every control, format
 * (bidirectional overrides included) and unpaired surrogate character written as an escape.
 *
 * Without this a guest could move the cursor of whoever reads the log, or forge lines in it.
 */
export function shownText(text: string): string {
  const cut = text.length > MAX_SHOWN_CHARACTERS ? `${text.slice(0, MAX_SHOWN_CHARACTERS)}...` : text;
  return cut.replace(UNSAFE, escaped);
}

/**
 * Text of several lines, as a guest's console has it, made fit for a terminal: line feeds and tabs stay, the other ways to end
 * a line become line feeds, control sequences are left out, and everything else that `shownText` escapes is escaped. Not cut.
 */
export function shownLines(text: string): string {
  return text
    .replace(CONTROL_SEQUENCE, "")
    .replace(/\r+\n?/g, "\n")
    .replace(UNSAFE, (character) => (character === "\n" || character === "\t" ? character : escaped(character)));
}

function escaped(character: string): string {
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}
