import type { Clone } from "./clone.ts";
import type { VmOwner } from "./vm-owner.ts";

/**
 * Ends a VM and gives back all it held. What fails does not keep the rest: a VM is ended even when nothing can be recorded any more.
 * @throws the first failure
 */
export async function endVm(clone: Clone, owner: Pick<VmOwner<unknown>, "releasing" | "gone">): Promise<void> {
  const failures: unknown[] = [];
  for (const step of [() => owner.releasing(), () => clone[Symbol.asyncDispose](), () => owner.gone()]) {
    await step().catch((error: unknown) => failures.push(error));
  }
  if (failures.length > 0) throw failures[0];
}
