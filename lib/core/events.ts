import { EventEmitter } from "eventemitter3";

/** Event name -> argument list, e.g. `{ exit: [cause: ExitCause] }`. */
type EventMap = Record<string, unknown[]>;

/** A typed emitter. Only owners emit; what they hand out is `EventSource`. */
export class Events<Map extends EventMap> extends EventEmitter<Map> {
  /** As `emit`, but a listener that throws is its owner's mistake: it becomes a warning of the process, and nobody else's error. */
  announce<Name extends keyof Map & string>(name: Name, ...args: Map[Name]): void {
    try {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- eventemitter3 cannot tie generic arguments to a generic name
      (this as unknown as EventEmitter<EventMap>).emit(name, ...args);
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  }
}

/** The listening half of `Events`, for public types. */
export interface EventSource<Map extends EventMap> {
  on<Name extends keyof Map & string>(event: Name, listener: (...args: Map[Name]) => void): unknown;
  once<Name extends keyof Map & string>(event: Name, listener: (...args: Map[Name]) => void): unknown;
  off<Name extends keyof Map & string>(event: Name, listener: (...args: Map[Name]) => void): unknown;
}
