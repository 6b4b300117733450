import { existsSync } from "node:fs";
import { daemonPlace } from "../lib/host/index.ts";
import { VmSubstrateError } from "../lib/index.ts";
import type { Cli } from "./cli.ts";
import { readConfig } from "./settings.ts";

/** A token of this machine's daemon. @throws VmSubstrateError NOT_FOUND, UNSAFE_DIRECTORY */
export async function tokenFor(cli: Cli, scope: "read" | "write"): Promise<string> {
  const file = await tokenFileOf(cli);
  if (!existsSync(file)) {
    const message = `there are no tokens in ${file} yet: the daemon makes them when it listens on TCP first (listen.tcp, or substrate daemon start --listen 127.0.0.1:7070)`;
    throw new VmSubstrateError("NOT_FOUND", message);
  }
  const { readTokens } = await import("../daemon/index.ts");
  const found = (await readTokens(file)).find((one) => one.scope === scope);
  if (found === undefined) throw new VmSubstrateError("NOT_FOUND", `${file} has no ${scope} token`);
  return found.token;
}

export async function tokenFileOf(cli: Cli): Promise<string> {
  const { directories } = await cli.settings();
  const config = await readConfig(cli.options, cli.io.env);
  return config.listen?.tokenFile ?? (await daemonPlace(directories)).tokens;
}
