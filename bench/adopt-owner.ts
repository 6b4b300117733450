import { Pool } from "vm-substrate";
import { SPEC } from "./context.ts";

// A pool's owner, to be killed by whoever started it: makes as many VMs as it is told to, says so, and waits for its end.
const [stateDir = "", count = ""] = process.argv.slice(2);
const pool = await Pool.open({ stateDir });
const vms = await pool.activate(Number(count), SPEC);
process.send?.(vms.map(({ id }) => id));
process.on("disconnect", () => process.exit(1));
