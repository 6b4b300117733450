export { type Config, type ConfigInput, configSchema, loadConfig } from "./config.ts";
export { Daemon } from "./daemon.ts";
export { readTokens, type Scope } from "./tokens.ts";
