import { setTimeout as delay } from "node:timers/promises";
import { withDeadline } from "../core/index.ts";
import type { QemuInstance } from "../host/index.ts";

/** Loading takes 10-30 ms; an empty or hanging stream would otherwise keep QEMU in `inmigrate` for ever. */
const LOAD_TIMEOUT_MS = 5000;
const LOAD_POLL_MS = 1;
/** The first descriptor after stdin, stdout and stderr. */
const INHERITED_FD = 3;

/**
 * Has a QEMU that waits for it load the device state that it inherited. It is paused then, and has not run.
 * @throws VmSubstrateError QEMU_EXITED, QMP_COMMAND_FAILED, TIMEOUT, ABORTED
 */
export async function loadState({ qmp, process }: QemuInstance, signal: AbortSignal): Promise<void> {
  const loading = withDeadline(
    { what: "load of the device state", timeoutMs: LOAD_TIMEOUT_MS, signal },
    async (inner) => {
      const capabilities = [{ capability: "x-ignore-shared", state: true }];
      await Promise.all([
        qmp.execute("migrate-set-capabilities", { capabilities }, { signal: inner }),
        // After a load QEMU has the guest announce itself, and does so too; a clone has nothing to announce yet.
        qmp.execute("migrate-set-parameters", { "announce-rounds": 0 }, { signal: inner }),
      ]);
      await qmp.execute("migrate-incoming", { uri: `fd:${INHERITED_FD}` }, { signal: inner });
      for (;;) {
        const { status } = await qmp.execute("query-status", {}, { signal: inner });
        if (status !== "inmigrate") return;
        await delay(LOAD_POLL_MS, undefined, { signal: inner });
      }
    },
  );
  await process.guard("load of the device state", loading);
}
