import { isVmSubstrateError, VmSubstrateError } from "../core/index.ts";
import { runTool } from "./run-tool.ts";

const DEFAULT_QEMU = "qemu-system-x86_64";
/** JSON for -device and -netdev, and the x-ignore-shared behaviour that was measured. */
const MINIMUM_VERSION = [7, 2] as const;
const VERSION_TIMEOUT_MS = 5000;

export interface QemuBinary {
  readonly path: string;
  /** "7.2.22" */
  readonly version: string;
  /** The whole version line's tail, with the distribution's build: device state is only loaded by the same build. */
  readonly build: string;
}

/**
 * Asks a QEMU executable who it is.
 *
 * @throws VmSubstrateError QEMU_MISSING, QEMU_UNSUPPORTED
 */
export async function identifyQemu(path: string = DEFAULT_QEMU): Promise<QemuBinary> {
  const output = await runTool([path, "--version"], { timeoutMs: VERSION_TIMEOUT_MS }).catch((cause: unknown) => {
    const hint = isVmSubstrateError(cause, "RECIPE_TOOL_MISSING")
      ? "install it (Debian: qemu-system-x86) or run scripts/bootstrap"
      : "it does not run";
    throw new VmSubstrateError("QEMU_MISSING", `QEMU executable "${path}": ${hint}`, { cause, details: { path } });
  });
  const match = /QEMU emulator version ((\d+)\.(\d+)[\d.]*)(?: \((.*)\))?/.exec(output.toString("utf8"));
  if (match === null) {
    throw new VmSubstrateError("QEMU_UNSUPPORTED", `"${path} --version" does not answer like QEMU`, {
      details: { path },
    });
  }
  const [, version = "", major, minor, packaging] = match;
  const found = [Number(major), Number(minor)] as const;
  if (found[0] < MINIMUM_VERSION[0] || (found[0] === MINIMUM_VERSION[0] && found[1] < MINIMUM_VERSION[1])) {
    const message = `QEMU ${version} at "${path}" is too old: ${MINIMUM_VERSION.join(".")} or later is needed`;
    throw new VmSubstrateError("QEMU_UNSUPPORTED", message, { details: { path, version } });
  }
  return { path, version, build: packaging === undefined ? version : `${version} (${packaging})` };
}
