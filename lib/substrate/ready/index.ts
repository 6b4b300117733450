export { awaitReady } from "./await-ready.ts";
export type { GuestChannels } from "./channels.ts";
export { probeName, probeSchema, type ReadyProbe } from "./probe.ts";
export { warmUp } from "./warm-up.ts";
