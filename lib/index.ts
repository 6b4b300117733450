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
  type ActivateSpec,
  type BuildOptions,
  type CallOptions,
  type DockOptions,
  type DockStatus,
  MAX_VMS_PER_ACTIVATION,
  type NetworkSpec,
  Pool,
  type PoolOptions,
  type SubstrateInfo,
} from "./pool/index.ts";
export type { BuildProgress } from "./substrate/index.ts";
