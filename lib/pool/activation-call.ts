import { newId, validate } from "../core/index.ts";
import { HostnamePattern } from "../netcfg/index.ts";
import type { ActivationCall } from "./activations.ts";
import { defaultHostname, identityTemplate } from "./identity-template.ts";
import type { ActivateSpec } from "./options.ts";
import { activateSpecSchema, countSchema } from "./schemas.ts";

export type CallKind = Pick<ActivationCall, "what" | "mode">;

/**
 * A call as it was made, turned into what is to be done.
 * @param callId what the log calls it by @throws VmSubstrateError INVALID_ARGUMENT
 */
export function activationCall(
  kind: CallKind,
  count: number,
  spec: ActivateSpec,
  callId: string = newId(),
): { readonly call: Omit<ActivationCall, "start" | "signal">; readonly timeoutMs: number } {
  const startedAt = performance.now();
  const { what } = kind;
  const validCount = validate(countSchema, count, `${what}: count`);
  const valid = validate(activateSpecSchema, spec, what);
  const { network, fabric, ...explicit } = valid.network;
  const { hostname = defaultHostname(valid.substrate.name) } = valid;
  const [pattern, hostnames] =
    hostname instanceof HostnamePattern ? [hostname] : [defaultHostname(valid.substrate.name), hostname];
  const { files, env, run, ttlMs, maxLifetimeMs, onExpiry, channel } = valid;
  const call = {
    callId,
    ...kind,
    ...explicit,
    count: validCount,
    reference: valid.substrate,
    template: identityTemplate(pattern, network, fabric),
    hostnames,
    authorizedKeys: valid.authorizedKeys,
    channel,
    fromDock: what === "activate" && channel === "helper",
    provision: { authorizedKeys: valid.authorizedKeys, files, env, run },
    resources: valid.resources,
    labels: valid.labels,
    lifetime: { ttlMs, maxLifetimeMs, onExpiry },
    wait: valid.wait,
    idempotencyKey: valid.idempotencyKey,
    startedAt,
  };
  return { call, timeoutMs: valid.timeoutMs };
}
