export { type ConnectOptions, connect } from "./connect.ts";
export type { PoolEventsOf, PoolHandle, VmHandle } from "./pool-handle.ts";
export { RemotePool } from "./remote-pool.ts";
export { RemoteVm } from "./remote-vm.ts";
