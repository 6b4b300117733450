import type { Logger } from "../core/index.ts";
import type { Paths, QemuBinary } from "../host/index.ts";

/** What booting a guest needs of its machine. */
export interface BootDependencies {
  readonly paths: Paths;
  readonly qemu: QemuBinary;
  readonly logger: Logger;
  readonly signal: AbortSignal | undefined;
}
