export { cpuModelFor, decideAccelerator, knownVerdict } from "./accelerator.ts";
export { compiledOnce } from "./compiled-once.ts";
export { takeConsole } from "./console.ts";
export { type DaemonPlace, daemonPlace, defaultConfigFile } from "./daemon-place.ts";
export { DISK_FORMATS, type DiskFormat, DiskImage, MAX_IMAGE_MIB } from "./disk-image.ts";
export { type DoctorCheck, type DoctorOptions, doctor } from "./doctor.ts";
export { uefiFirmware } from "./firmware.ts";
export { ForkServer } from "./fork-server.ts";
export {
  diskFull,
  requireDescriptors,
  requireDisk,
  requireMemory,
  requireSharedMemory,
  STAT_BLOCK,
  sharedMemory,
} from "./headroom.ts";
export { plugCpus, plugMemory, resizeDisk } from "./hot-plug.ts";
export type { Monitor } from "./monitor.ts";
export { endProcess, type FoundProcess, findProcesses } from "./orphans.ts";
export {
  archiveStaging,
  type Directories,
  Paths,
  type RecipePaths,
  type SubstratePaths,
  socketPath,
  type VmPaths,
} from "./paths.ts";
export { ensurePrivateDir } from "./private-dir.ts";
export {
  availableMemoryBytes,
  bogoMips,
  bootId,
  monotonicMs,
  type ProcessMemory,
  processMemory,
  processStartTime,
} from "./proc.ts";
export type { ExitCause, ProcessName } from "./process-handle.ts";
export { createOverlay, qcow2BackingFile, qcow2Objection, qcow2VirtualSize } from "./qcow2.ts";
export {
  DISK_DEVICE_ID,
  DISK_NODE,
  GENERATION_DRIVER,
  HUB_ID,
  NIC_ID,
  qemuArgv,
  RAM_BLOCK,
} from "./qemu-argv.ts";
export { identifyQemu, type QemuBinary } from "./qemu-binary.ts";
export { QemuInstance } from "./qemu-instance.ts";
export { QemuProcess } from "./qemu-process.ts";
export {
  dropUnusedMemory,
  machineMemoryMiB,
  type RemovableModule,
  removableModules,
  unplugModule,
} from "./removable-memory.ts";
export { runTool, type ToolOptions } from "./run-tool.ts";
export { isPortOpen, plugPort, SESSION_PORT, unplugPort } from "./serial-port.ts";
export { ACCELERATORS, type Accelerator, type MachineGrowth, type VmConfig } from "./vm-config.ts";
