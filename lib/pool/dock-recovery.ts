import { type Logger, messageOf } from "../core/index.ts";
import type { DockRecords } from "./dock-records.ts";
import type { Docks } from "./docks.ts";
import type { LoadedSubstrates } from "./loaded-substrates.ts";

export interface DockRecoveryDependencies {
  readonly docks: Docks;
  readonly dockRecords: DockRecords;
  readonly loaded: LoadedSubstrates;
  readonly logger: Logger;
}

/**
 * Sets the recorded docks again, without waiting for their clones. What cannot be docked now, because its substrate is missing
 * or damaged or there is no room for it, is logged and stays recorded: the next opening may find it mended.
 *
 * @throws VmSubstrateError STATE_DIR_DAMAGED, STORE_UNWRITABLE
 */
export async function recoverDocks(
  what: "forget" | "restore",
  { docks, dockRecords, loaded, logger }: DockRecoveryDependencies,
): Promise<void> {
  if (what === "forget") return dockRecords.removeAll();
  for (const { name, read } of await dockRecords.all()) {
    try {
      const { reference, target } = read();
      using use = await loaded.use(reference, "dock");
      docks.set(use.loaded, target);
    } catch (error) {
      logger.warn({ dock: name, error: messageOf(error) }, "a recorded dock was not set again");
    }
  }
}
