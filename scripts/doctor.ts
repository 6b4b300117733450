import { styleText } from "node:util";
import { doctor } from "vm-substrate";

const MARKS = { ok: ["green", "✔"], warn: ["yellow", "!"], fail: ["red", "✘"] } as const;

const checks = await doctor();
if (process.argv.includes("--json")) {
  console.log(JSON.stringify(checks, null, 2));
} else {
  for (const { name, status, found, hint } of checks) {
    const [color, mark] = MARKS[status];
    console.log(`${styleText(color, mark)} ${name.padEnd(14)}${found}`);
    if (hint !== undefined) console.log(`  ${"".padEnd(14)}${styleText("gray", hint)}`);
  }
}
process.exitCode = checks.some(({ status }) => status === "fail") ? 1 : 0;
