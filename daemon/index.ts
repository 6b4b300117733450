export { type Config, type ConfigInput, loadConfig } from "./config.ts";
export { Daemon } from "./daemon.ts";
export { describeApi } from "./describe-api.ts";
export { readTokens } from "./tokens.ts";
