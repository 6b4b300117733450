export type { SessionExit } from "./frames.ts";
export { SessionInput } from "./input.ts";
export { SessionOutput } from "./output.ts";
export type { Session } from "./session.ts";
export { type SessionOptions, sessionRequest, type TerminalSize } from "./session-options.ts";
export { Sessions } from "./sessions.ts";
