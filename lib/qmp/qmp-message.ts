import { BadJsonError, isJsonObject, type JsonObject } from "./json-line.ts";
import type { VersionInfo } from "./qmp-commands.ts";
import type { QmpEvent } from "./qmp-events.ts";

/** What QEMU says first. */
export interface QmpGreeting {
  readonly version: VersionInfo;
  /** E.g. `oob`. */
  readonly capabilities: readonly string[];
}

/** One line of QEMU, told apart. */
export type QmpMessage =
  | { readonly kind: "greeting"; readonly greeting: QmpGreeting }
  | { readonly kind: "event"; readonly event: QmpEvent }
  | { readonly kind: "return"; readonly id: unknown; readonly value: unknown }
  | { readonly kind: "error"; readonly id: unknown; readonly errorClass: string; readonly desc: string };

/**
 * Source: https://www.qemu.org/docs/master/interop/qmp-spec.html
 *
 * @throws BadJsonError when it is none of the four
 */
export function readQmpMessage(message: JsonObject): QmpMessage {
  if ("return" in message) return { kind: "return", id: message.id, value: message.return };
  if ("error" in message) return { kind: "error", id: message.id, ...readError(message.error) };
  if ("event" in message) return { kind: "event", event: readEvent(message) };
  if ("QMP" in message) return { kind: "greeting", greeting: readGreeting(message.QMP) };
  throw new BadJsonError("an object that is no greeting, reply or event");
}

/** @throws BadJsonError when it is not `{ class, desc }` */
export function readError(error: unknown): { errorClass: string; desc: string } {
  if (!isJsonObject(error)) throw new BadJsonError("an error that is no object");
  const { class: errorClass, desc } = error;
  if (typeof errorClass !== "string" || typeof desc !== "string") {
    throw new BadJsonError("an error without class and desc");
  }
  return { errorClass, desc };
}

function readEvent(message: JsonObject): QmpEvent {
  const { event: name, data = {}, timestamp } = message;
  if (typeof name !== "string") throw new BadJsonError("an event whose name is no string");
  if (!isJsonObject(data)) throw new BadJsonError("an event whose data is no object");
  return { name, data, timestampMs: readTimestamp(timestamp) };
}

function readTimestamp(timestamp: unknown): number | undefined {
  if (!isJsonObject(timestamp)) return undefined;
  const { seconds, microseconds } = timestamp;
  // QEMU sends -1 for both when the clock cannot be read.
  if (typeof seconds !== "number" || typeof microseconds !== "number" || seconds < 0) return undefined;
  return seconds * 1000 + microseconds / 1000;
}

function readGreeting(greeting: unknown): QmpGreeting {
  if (!isJsonObject(greeting) || !Array.isArray(greeting.capabilities)) {
    throw new BadJsonError("a greeting without capabilities");
  }
  // A capability that is not known is not used, whatever its type.
  const capabilities = greeting.capabilities.filter((name) => typeof name === "string");
  return { version: readVersion(greeting.version), capabilities };
}

function readVersion(version: unknown): VersionInfo {
  if (!isJsonObject(version) || !isJsonObject(version.qemu)) throw new BadJsonError("a greeting without version");
  const { major, minor, micro } = version.qemu;
  const { package: distribution = "" } = version;
  if (
    typeof major !== "number" ||
    typeof minor !== "number" ||
    typeof micro !== "number" ||
    typeof distribution !== "string"
  ) {
    throw new BadJsonError("a greeting without version numbers");
  }
  return { qemu: { major, minor, micro }, package: distribution };
}
