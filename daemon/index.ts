export { type Config, type ConfigInput, configSchema, defaultConfigFile, loadConfig, parseConfig } from "./config.ts";
export { Daemon } from "./daemon.ts";
export { describeApi } from "./describe-api.ts";
export { readTokens, type Scope } from "./tokens.ts";
