import { ERROR_CODES, type ErrorCode, VmSubstrateError } from "../lib/index.ts";

/** The error that a problem tells of, as the library throws it. What tells of none is an internal error. */
export function errorOf(problem: unknown, status?: number): VmSubstrateError {
  const { code, detail, details, instance } = fieldsOf(problem);
  const told = typeof detail === "string" ? detail : `the daemon answered with status ${status}`;
  const options = {
    details: { ...(isRecord(details) ? details : {}), ...(instance === undefined ? {} : { request: instance }) },
  };
  return new VmSubstrateError(isCode(code) ? code : "INTERNAL_ERROR", told, options);
}

function fieldsOf(problem: unknown): Readonly<Record<string, unknown>> {
  return isRecord(problem) ? problem : {};
}

function isCode(code: unknown): code is ErrorCode {
  return typeof code === "string" && Object.hasOwn(ERROR_CODES, code);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
