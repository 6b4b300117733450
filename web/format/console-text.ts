// Escape sequences of terminals: CSI, OSC up to its end, and those of one letter. The text is the guest's own, which may hold
// anything. Source: ECMA-48.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[ -/]*[0-~])/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the same
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
/** Characters that turn the direction of text, with which a guest could show another text than it wrote. */
const DIRECTIONS = /[\u202a-\u202e\u2066-\u2069]/g;

/** A console's bytes as lines to read: no colours, no cursor, no control characters; of a line that was overwritten, its last state. */
export function plainConsole(text: string): string {
  return text
    .replaceAll(ESCAPES, "")
    .replaceAll(/\r+\n/g, "\n")
    .split("\n")
    .map((line) => line.slice(line.lastIndexOf("\r", line.length - 2) + 1))
    .join("\n")
    .replaceAll(CONTROLS, "")
    .replaceAll(DIRECTIONS, "");
}
