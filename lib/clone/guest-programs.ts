import { validate, withDeadline } from "../core/index.ts";
import { type GuestAgent, guestExec, readGuestFile, writeGuestFile } from "../qmp/index.ts";
import {
  argvSchema,
  contentSchema,
  type ExecOptions,
  type ExecResult,
  execOptionsSchema,
  type FileOptions,
  fileOptionsSchema,
  pathSchema,
  type ReadFileOptions,
  readFileOptionsSchema,
} from "./vm-options.ts";

/** Something that a VM's agent is asked for; made with its arguments validated, before the agent is looked for. */
type Asked<T> = (agent: GuestAgent) => Promise<T>;

/** @param own the VM's environment, which the call adds to @throws VmSubstrateError INVALID_ARGUMENT */
export function execution(
  argv: readonly string[],
  options: ExecOptions,
  own: Readonly<Record<string, string>>,
): Asked<ExecResult> {
  const program = validate(argvSchema, argv, "exec: argv");
  const valid = validate(execOptionsSchema, options, "exec");
  const env = { ...own, ...valid.env };
  const within = Object.keys(env).length === 0 ? valid : { ...valid, env };
  return async (agent) => {
    const { stdout, stderr, ...rest } = await guestExec(agent, program, within);
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    return { ...rest, stdout: text(stdout), stderr: text(stderr), stdoutBytes: stdout, stderrBytes: stderr };
  };
}

/** @throws VmSubstrateError INVALID_ARGUMENT */
export function reading(path: string, options: ReadFileOptions): Asked<Uint8Array> {
  validate(pathSchema, path, "readFile: path");
  const { maxBytes, ...within } = validate(readFileOptionsSchema, options, "readFile");
  return (agent) =>
    withDeadline({ what: `read of ${path}`, ...within }, (signal) =>
      readGuestFile(agent, path, { ...within, maxBytes, signal }),
    );
}

/** @throws VmSubstrateError INVALID_ARGUMENT */
export function writing(path: string, content: string | Uint8Array, options: FileOptions): Asked<void> {
  validate(pathSchema, path, "writeFile: path");
  validate(contentSchema, content, "writeFile: content");
  const within = validate(fileOptionsSchema, options, "writeFile");
  return (agent) =>
    withDeadline({ what: `write of ${path}`, ...within }, (signal) =>
      writeGuestFile(agent, path, content, { ...within, signal }),
    );
}
