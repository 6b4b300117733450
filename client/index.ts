export { type ConnectOptions, connect } from "./connect.ts";
export type { PoolEventsOf, PoolHandle, VmHandle } from "./pool-handle.ts";
export { RemotePool, type VmFilter, type WatchOptions } from "./remote-pool.ts";
export { RemoteVm } from "./remote-vm.ts";
