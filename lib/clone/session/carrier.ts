import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { isVmSubstrateError } from "../../core/index.ts";
import { SESSION_PORT } from "../../host/index.ts";
import { type GuestAgent, guestExec, shownText, writeGuestFile } from "../../qmp/index.ts";
import { sessionProgram } from "../../substrate/index.ts";
import { sessionFailed } from "./session-link.ts";

/** Tried in order: some guests mount one or another noexec. Only root writes there, and it is root who runs it. */
const FOLDERS = ["/run", "/root", "/var/lib"];
const CARRY_TIMEOUT_MS = 60_000;

/**
 * Starts the program that carries sessions in a guest, which is taken there by the agent the first time. It has the port open
 * then, and runs until the other end of that is closed.
 */
export class Carrier {
  readonly #programs: string;
  /** Where it ran before. */
  #path: string | undefined;

  /** @param programs where compiled programs are kept on this machine */
  constructor(programs: string) {
    this.#programs = programs;
  }

  /** @throws VmSubstrateError SESSION_FAILED, GUEST_AGENT_*, RECIPE_TOOL_MISSING without a compiler, ABORTED */
  async start(agent: GuestAgent, signal: AbortSignal): Promise<void> {
    const file = await sessionProgram(this.#programs, signal);
    const paths = FOLDERS.map((folder) => `${folder}/.substrate-${basename(file)}`);
    const known = this.#path === undefined ? paths : [this.#path, ...paths];
    let last: unknown;
    for (const path of known) {
      try {
        if (await isThere(agent, path, signal)) {
          if (await this.#run(agent, path, signal)) return;
        }
        await writeGuestFile(agent, path, await readFile(file), { signal });
        await guestExec(agent, ["chmod", "700", path], { timeoutMs: CARRY_TIMEOUT_MS, signal });
        if (await this.#run(agent, path, signal)) return;
      } catch (error) {
        if (!isVmSubstrateError(error, "GUEST_COMMAND_FAILED")) throw error;
        last = error;
      }
    }
    const why = "the guest agent could not carry its program in (is guest-exec allowed in its configuration?)";
    throw sessionFailed(why, last);
  }

  /** @returns false when it cannot be run there: it came in part, or nothing can */
  async #run(agent: GuestAgent, path: string, signal: AbortSignal): Promise<boolean> {
    const running = guestExec(agent, [path, SESSION_PORT], { timeoutMs: CARRY_TIMEOUT_MS, signal });
    const result = await running.catch((error: unknown) => {
      if (isVmSubstrateError(error, "GUEST_COMMAND_FAILED")) return undefined;
      throw error;
    });
    if (result === undefined) return false;
    this.#path = path;
    if (result.exitCode === 0) return true;
    const said = shownText(Buffer.from(result.stderr).toString().trim());
    throw sessionFailed(`its program in the guest ended with status ${result.exitCode}: ${said}`);
  }
}

/** Cheaper than to find out by starting it: that is a process. */
async function isThere(agent: GuestAgent, path: string, signal: AbortSignal): Promise<boolean> {
  try {
    const handle = await agent.execute("guest-file-open", { path, mode: "r" }, { signal });
    await agent.execute("guest-file-close", { handle }, { signal });
    return true;
  } catch (error) {
    if (isVmSubstrateError(error, "GUEST_COMMAND_FAILED")) return false;
    throw error;
  }
}
