const MAX_SHOWN_CHARACTERS = 300;

/**
 * Text of a guest or of QEMU, made fit for messages and logs: cut to 300 characters, and every control, format
 * (bidirectional overrides included) and unpaired surrogate character written as an escape.
 *
 * Without this a guest could move the cursor of whoever reads the log, or forge lines in it.
 */
export function shownText(text: string): string {
  const cut = text.length > MAX_SHOWN_CHARACTERS ? `${text.slice(0, MAX_SHOWN_CHARACTERS)}...` : text;
  return cut.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => {
    return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
  });
}
