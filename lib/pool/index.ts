export type { BreakerState } from "./breaker.ts";
export type { GcOptions } from "./gc-call.ts";
export type { GcReport } from "./inventory.ts";
export type { OnExpiry } from "./lifetime.ts";
export type { MemoryUse } from "./memory.ts";
export type {
  ActivateOptions,
  ActivateOutcome,
  ActivateSpec,
  BuildOptions,
  CallOptions,
  CloseOptions,
  DockOptions,
  DockStatus,
  FileSpec,
  NetworkSpec,
  PoolOptions,
  ResourcesSpec,
  RunSpec,
} from "./options.ts";
export { Pool } from "./pool.ts";
export type { PoolEvents } from "./pool-events.ts";
export { MAX_VMS_PER_ACTIVATION } from "./schemas.ts";
export type { SubstrateInfo } from "./substrate-info.ts";
export type {
  ExportedSubstrate,
  ExportOptions,
  ImportOptions,
  PruneOptions,
  PruneReport,
  ScrubOptions,
  ScrubReport,
  SubstrateUser,
} from "./substrate-options.ts";
