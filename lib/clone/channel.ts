import type { LoadedSubstrate } from "../substrate/index.ts";
import type { ChannelKind } from "./dependencies.ts";

/** How the helper's operations reach a guest of a substrate: one without a resident helper has only its agent, whatever was asked for. */
export function channelTo({ guest }: Pick<LoadedSubstrate["manifest"], "guest">, asked: ChannelKind): ChannelKind {
  return guest.helper ? asked : "agent";
}
