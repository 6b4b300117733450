// Escape sequences of terminals: CSI, OSC up to its end, and those of one letter. The text is the guest's own, which may hold
// anything. Source: ECMA-48.
const ESC = "\u001b";
const BELL = "\u0007";
const ESCAPES = new RegExp(
  String.raw`${ESC}(?:\[[0-?]*[ -/]*[@-~]|\][^${BELL}${ESC}]*(?:${BELL}|${ESC}\\)?|[ -/]*[0-~])`,
  "g",
);
const CONTROLS = /(?![\t\n])\p{Cc}/gu;
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
