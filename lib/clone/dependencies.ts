import type { Logger } from "../core/index.ts";
import type { Paths, QemuBinary } from "../host/index.ts";

/** How the helper's operations reach a guest. `agent` is for guests that have qemu-guest-agent and nothing else. */
export const CHANNELS = ["helper", "agent"] as const;
export type ChannelKind = (typeof CHANNELS)[number];

export interface CloneDependencies {
  readonly paths: Paths;
  readonly qemu: QemuBinary;
  readonly logger: Logger;
}
