import type { HelperChannel, RequestOptions } from "../../netcfg/index.ts";
import type { ReadyProbe } from "./probe.ts";

/**
 * Asks a guest's web servers what its probes ask. Whoever asks next finds their code in memory, and under emulation translated:
 * nginx answers its first request after 150 ms and its second after 5. What they answer does not matter here; that it can be `any`
 * of several is for whoever waits for readiness.
 */
export async function warmUp(
  probes: readonly ReadyProbe[],
  helper: HelperChannel,
  options: RequestOptions,
): Promise<void> {
  for (const value of webPages(probes)) {
    await helper.request([{ name: "http", value }], options).catch(() => {});
  }
}

function webPages(probes: readonly ReadyProbe[]): string[] {
  return probes.flatMap((probe) => {
    if (probe.probe === "all" || probe.probe === "any") return webPages(probe.of);
    return probe.probe === "http" ? [`${probe.port},${probe.path}`] : [];
  });
}
