import type { VmView } from "../../api/index.ts";

export function VmState({ state }: { readonly state: VmView["state"] }) {
  return (
    <span class={`vm-state ${state}`}>
      <i class="dot" />
      {state}
    </span>
  );
}
