import { EventEmitter } from "eventemitter3";

/** Event name -> argument list, e.g. `{ exit: [cause: ExitCause] }`. */
type EventMap = Record<string, unknown[]>;

/** A typed emitter. Only owners emit; what they hand out is `EventSource`. */
export class Events<Map extends EventMap> extends EventEmitter<Map> {}

/** The listening half of `Events`, for public types. */
export interface EventSource<Map extends EventMap> {
  on<Name extends keyof Map & string>(event: Name, listener: (...args: Map[Name]) => void): unknown;
  once<Name extends keyof Map & string>(event: Name, listener: (...args: Map[Name]) => void): unknown;
  off<Name extends keyof Map & string>(event: Name, listener: (...args: Map[Name]) => void): unknown;
}
