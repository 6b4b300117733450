import type { HelperChannel } from "../../netcfg/index.ts";
import type { GuestAgent } from "../../qmp/index.ts";

/** The two ways to talk to a guest that is being made into a substrate. */
export interface GuestChannels {
  readonly agent: GuestAgent;
  readonly helper: HelperChannel;
}
