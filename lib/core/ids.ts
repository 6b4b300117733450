import { customAlphabet } from "nanoid";

const ID_LENGTH = 12;

/**
 * Lower-case letters and digits, starting with a letter: usable as file name, hostname label and QEMU id alike.
 * 26 * 36^11 values; ids are names, not secrets.
 */
const firstLetter = customAlphabet("abcdefghijklmnopqrstuvwxyz", 1);
const rest = customAlphabet("abcdefghijklmnopqrstuvwxyz0123456789", ID_LENGTH - 1);

export function newId(): string {
  return firstLetter() + rest();
}
