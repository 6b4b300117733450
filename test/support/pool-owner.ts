/**
 * A process that owns a pool: `node pool-owner.ts OPTIONS_JSON COUNT`. It prints "ready" when its VMs run, or the code of
 * the error, and stays until it is killed.
 */
import { isVmSubstrateError } from "../../lib/core/index.ts";
import { Pool } from "../../lib/pool/index.ts";

const [options = "{}", count = "0"] = process.argv.slice(2);
try {
  const pool = await Pool.open(JSON.parse(options));
  if (count === "build") await pool.build({ recipe: "mini" });
  else if (count !== "0") await pool.activate(Number(count), { substrate: "fake" });
  process.stdout.write("ready\n");
  setInterval(() => {}, 60_000);
} catch (error) {
  process.stdout.write(`${isVmSubstrateError(error) ? error.code : String(error)}\n`);
}
