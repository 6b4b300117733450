import type { Logger } from "../core/index.ts";
import type { ForkServer, Paths, QemuBinary } from "../host/index.ts";
import type { OnFailpoint } from "./failpoints.ts";
import type { ZygoteSource } from "./zygote-source.ts";

/** How the helper's operations reach a guest. `agent` is for guests that have qemu-guest-agent and nothing else. */
export const CHANNELS = ["helper", "agent"] as const;
export type ChannelKind = (typeof CHANNELS)[number];

export interface CloneDependencies {
  readonly paths: Paths;
  readonly qemu: QemuBinary;
  readonly logger: Logger;
  readonly failpoint: OnFailpoint;
  /** Starts QEMU cheaply where it can. */
  readonly forkServer?: ForkServer | undefined;
  /** Where clones are forked from; without one each loads its substrate. */
  readonly zygotes?: ZygoteSource | undefined;
}
