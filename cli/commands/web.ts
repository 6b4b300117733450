import type { Command } from "commander";
import { VmSubstrateError } from "../../lib/index.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { tokenFor } from "../token-file.ts";

const HOW = `a browser needs the daemon to listen on TCP, which it does not. Switch it on by

  substrate daemon stop
  substrate daemon start --listen 127.0.0.1:7070

or for good by "listen: { tcp: 127.0.0.1:7070 }" in the file that substrate config path names. VMs go on meanwhile`;

export function webCommand(cli: Cli): Command {
  return command("web", {
    summary: "Print the address of the daemon's page, with a token",
    more: "Whoever has the address can do all that you can with VMs; with --read only look.",
    examples: ["substrate web", "xdg-open $(substrate web --read)"],
  })
    .option("--read", "with a token that can only read")
    .action(async ({ read = false }: { readonly read?: boolean }) => {
      const pool = await cli.pool();
      const { url } = await pool.daemon();
      if (url === null) throw new VmSubstrateError("NOT_FOUND", HOW);
      const address = `${url}/#token=${await tokenFor(cli, read ? "read" : "write")}`;
      await cli.out.text(cli.out.isTable ? `${address}\n` : `${JSON.stringify({ url: address })}\n`);
    });
}
