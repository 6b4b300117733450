export { type ActivateOptions, activateClone } from "./activate.ts";
export { coldBoot } from "./cold-boot.ts";
export { CHANNELS, type ChannelKind } from "./dependencies.ts";
export { type DockedClone, dockClone } from "./docked-clone.ts";
export { PHASES, type Phase, type Timings } from "./phases.ts";
export { type ClonePlan, planClones } from "./plan.ts";
export { type ExecResult, Vm, type VmEvents, type VmOrigin, type VmState } from "./vm.ts";
export type { ExecOptions, FileOptions, ReadFileOptions } from "./vm-options.ts";
