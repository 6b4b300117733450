export { abortedError, throwIfAborted, withDeadline, withDeadlineAndUndo } from "./deadline.ts";
export {
  ERROR_CODES,
  type ErrorCode,
  isVmSubstrateError,
  messageOf,
  VmSubstrateError,
} from "./errors.ts";
export { type EventSource, Events } from "./events.ts";
export { hostFailure } from "./host-failure.ts";
export { newId } from "./ids.ts";
export { type Logger, silentLogger, withFields } from "./logger.ts";
export { Reconnecting } from "./reconnecting.ts";
export { Turns } from "./turns.ts";
export { formatMiB, KIB, MIB } from "./units.ts";
export { signalSchema, validate } from "./validate.ts";
