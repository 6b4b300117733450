/** QMP and guest-agent clients; exported to users as `vm-substrate/qmp`. */
export {
  ERROR_CODES,
  type ErrorCode,
  type EventSource,
  isVmSubstrateError,
  type Logger,
  VmSubstrateError,
} from "../core/index.ts";
export {
  GuestAgent,
  type GuestAgentClose,
  type GuestAgentConnectOptions,
  type GuestAgentEvents,
  type GuestAgentExecuteOptions,
} from "./guest-agent.ts";
export type {
  GuestAgentCommandName,
  GuestAgentCommands,
  GuestAgentInfo,
  GuestExecArguments,
  GuestExecStatus,
  GuestFileRead,
  GuestFileWrite,
  GuestNetworkInterface,
  GuestOsInfo,
} from "./guest-agent-commands.ts";
export { type GuestExecOptions, type GuestExecResult, guestExec } from "./guest-exec.ts";
export {
  type ReadGuestFileOptions,
  readGuestFile,
  type WriteGuestFileOptions,
  writeGuestFile,
} from "./guest-files.ts";
export { DEFAULT_GUEST_PATH } from "./limits.ts";
export { LineSocket, type LineSocketClose, type LineSocketCodes, type LineSocketOptions } from "./line-socket.ts";
export { QmpClient } from "./qmp-client.ts";
export type {
  BlockDeviceInfo,
  BlockInfo,
  BlockJobInfo,
  BlockStreamArguments,
  ChardevInfo,
  CpuInfoFast,
  EmptyResult,
  MemoryInfo,
  MigrateArguments,
  MigrationCapabilityStatus,
  MigrationInfo,
  MigrationParameters,
  MigrationStats,
  MigrationStatus,
  NamedBlockNode,
  NoArguments,
  QmpArguments,
  QmpCommandName,
  QmpCommands,
  RunState,
  RxFilterInfo,
  SchemaInfo,
  StatusInfo,
  VersionInfo,
} from "./qmp-commands.ts";
export type { QmpEvent, QmpEventName, QmpEvents } from "./qmp-events.ts";
export type { QmpGreeting } from "./qmp-message.ts";
export type {
  QmpClientEvents,
  QmpClose,
  QmpConnectOptions,
  QmpExecuteOptions,
  WaitForEventOptions,
} from "./qmp-options.ts";
export { shownLines, shownText } from "./untrusted-text.ts";
