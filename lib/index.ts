export {
  type ExecOptions,
  type ExecResult,
  type FileOptions,
  PHASES,
  type Phase,
  type ReadFileOptions,
  type Timings,
  type Vm,
  type VmEvents,
  type VmOrigin,
  type VmState,
} from "./clone/index.ts";
export { ERROR_CODES, type ErrorCode, isVmSubstrateError, type Logger, VmSubstrateError } from "./core/index.ts";
export { type DoctorCheck, type DoctorOptions, doctor } from "./host/index.ts";
export {
  type ActivateOutcome,
  type ActivateSpec,
  type BreakerState,
  type BuildOptions,
  type CallOptions,
  type CloseOptions,
  type DockOptions,
  type DockStatus,
  type FileSpec,
  type GcReport,
  MAX_VMS_PER_ACTIVATION,
  type MemoryUse,
  type NetworkSpec,
  type OnExpiry,
  Pool,
  type PoolEvents,
  type PoolOptions,
  type RunSpec,
  type SubstrateInfo,
} from "./pool/index.ts";
export type { BuildProgress } from "./substrate/index.ts";
