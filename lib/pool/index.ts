export type {
  ActivateSpec,
  BuildOptions,
  CallOptions,
  DockOptions,
  DockStatus,
  NetworkSpec,
  PoolOptions,
} from "./options.ts";
export { Pool } from "./pool.ts";
export { MAX_VMS_PER_ACTIVATION } from "./schemas.ts";
export type { SubstrateInfo } from "./substrate-info.ts";
