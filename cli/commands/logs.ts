import { setTimeout as delay } from "node:timers/promises";
import type { Command } from "commander";
import { isVmSubstrateError } from "../../lib/index.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";

const POLL_MS = 500;
/** So much of what was shown is looked for in what there is. */
const TAIL_CHARS = 256;

export function logsCommand(cli: Cli): Command {
  return command("logs", {
    summary: "Show the end of what a VM wrote to its console",
    examples: ["substrate logs node-0", "substrate logs --follow node-0"],
  })
    .argument("<vm>")
    .option("-f, --follow", "go on with what it writes, until it ends")
    .action(async (name: string, { follow = false }: { readonly follow?: boolean }) => {
      const pool = await cli.pool();
      const vm = await pool.find(name);
      let shown = await vm.console({ signal: cli.signal });
      await cli.out.text(shown);
      if (!follow) return;
      cli.interruptNote = undefined;
      for (;;) {
        await delay(POLL_MS, undefined, { signal: cli.signal }).catch(() => {});
        try {
          const now = await vm.console({ signal: cli.signal });
          await cli.out.text(whatIsNew(shown, now));
          shown = now;
        } catch (error) {
          if (isVmSubstrateError(error, "VM_GONE")) return;
          throw error;
        }
      }
    });
}

/** Of the end of a text that grows, and may have lost its beginning. */
export function whatIsNew(before: string, now: string): string {
  const tail = before.slice(-TAIL_CHARS);
  for (let at = now.lastIndexOf(tail); at >= 0; at = at === 0 ? -1 : now.lastIndexOf(tail, at - 1)) {
    const seen = at + tail.length;
    if (before.endsWith(now.slice(0, seen))) return now.slice(seen);
  }
  return now;
}
