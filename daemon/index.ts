export { type Config, type ConfigInput, loadConfig } from "./config.ts";
export { Daemon } from "./daemon.ts";
export { readTokens } from "./tokens.ts";
