export {
  API_PREFIX,
  idParameter,
  pageOf,
  substrateParameter,
  versionSchema,
  waitQuery,
} from "./common.ts";
export { type DockBody, type DockView, dockBodySchema, dockedQuery, dockSchema, undockedSchema } from "./dock.ts";
export {
  type DaemonEvent,
  EVENT_TYPES,
  type EventPayload,
  type EventType,
  eventsQuery,
  type Snapshot,
  streamSchema,
  type Tick,
} from "./event.ts";
export { type OperationView, operationSchema, operationsQuery } from "./operation.ts";
export { PROBLEM_TYPE, PROBLEM_URN, type Problem, problemSchema } from "./problem.ts";
export {
  SESSION_CHANNELS,
  SESSION_WINDOW_BYTES,
  type SessionOrder,
  type SessionReport,
  type SessionStart,
  sessionOrderSchema,
  sessionStartSchema,
} from "./session.ts";
export { type Second, STATS_SECONDS, statsSchema } from "./stats.ts";
export {
  type BuildBody,
  buildBodySchema,
  builtSchema,
  exportBodySchema,
  exportedSchema,
  type ImportBody,
  importBodySchema,
  type PruneReportView,
  pruneBodySchema,
  pruneReportSchema,
  removedSchema,
  type SubstrateView,
  scrubBodySchema,
  scrubReportSchema,
  substrateSchema,
} from "./substrate.ts";
export {
  type DaemonView,
  daemonSchema,
  doctorSchema,
  type GcReportView,
  gcBodySchema,
  gcReportSchema,
  type MemoryUseView,
  memoryUseSchema,
  readySchema,
} from "./system.ts";
export {
  type ActivateBody,
  activateBodySchema,
  activateSpecSchema,
  consoleQuery,
  consoleSchema,
  type ExecBody,
  execBodySchema,
  execResultSchema,
  extendBodySchema,
  type ForkBody,
  forkBodySchema,
  freezeBodySchema,
  memorySchema,
  type Outcomes,
  outcomesSchema,
  readFileQuery,
  shrinkBodySchema,
  VM_STATES,
  type VmView,
  vmSchema,
  vmsQuery,
  writeFileQuery,
} from "./vm.ts";
