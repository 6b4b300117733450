export { type ActivateOptions, activateClone } from "./activate.ts";
export { coldBoot } from "./cold-boot.ts";
export { CHANNELS, type ChannelKind, type CloneDependencies } from "./dependencies.ts";
export { PHASES, type Phase, type Timings } from "./phases.ts";
export { type ClonePlan, planClones } from "./plan.ts";
export { type ExecOptions, type ExecResult, type FileOptions, Vm, type VmEvents, type VmState } from "./vm.ts";
