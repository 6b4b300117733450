export { type ActivateOptions, activateClone } from "./activate.ts";
export { type Adoption, adoptClone } from "./adopt.ts";
export { channelTo } from "./channel.ts";
export type { Clone } from "./clone.ts";
export { coldBoot } from "./cold-boot.ts";
export { CHANNELS, type ChannelKind, type CloneDependencies } from "./dependencies.ts";
export { type DockedClone, type DockPlan, dockClone } from "./docked-clone.ts";
export { FAILPOINTS, type Failpoint, type OnFailpoint } from "./failpoints.ts";
export { endFlattening, type FlattenOptions, flattenDisk } from "./flatten-disk.ts";
export { type InstantState, takeInstant } from "./fork.ts";
export type { ForkOptions, ForkReport } from "./fork-options.ts";
export type { FreezeOptions, Frozen } from "./freeze-options.ts";
export type { ConsoleOptions } from "./guest-console.ts";
export { PHASES, type Phase, type Timings } from "./phases.ts";
export { type ClonePlan, newClonePlan } from "./plan.ts";
export type { Provision } from "./provision.ts";
export {
  addedMemoryMiB,
  frozenResources,
  type Growth,
  planGrowth,
  type Resources,
  type ResourcesRequest,
} from "./resources.ts";
export {
  type Session,
  type SessionExit,
  SessionInput,
  type SessionOptions,
  SessionOutput,
  type TerminalSize,
} from "./session/index.ts";
export { Vm } from "./vm.ts";
export {
  argvSchema,
  type ExecOptions,
  type ExecResult,
  type FileOptions,
  lifetimeSchema,
  type ReadFileOptions,
  type ShrinkRequest,
} from "./vm-options.ts";
export type { Expiry, VmOwner } from "./vm-owner.ts";
export { VM_ORIGINS, type VmEvents, type VmOrigin, type VmState } from "./vm-state.ts";
export { Zygote } from "./zygote.ts";
export type { Forkable, ZygoteSource } from "./zygote-source.ts";
export { makeZygote } from "./zygote-trial.ts";
