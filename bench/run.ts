import { parseArgs } from "node:util";
import { benchActivate } from "./activate.ts";
import { benchClaim } from "./claim.ts";

const HELP = `npm run bench -- <benchmark> [options]

  activate   cold boot of an overlay of the same disk against activation from the substrate
             --rounds N   rounds, each one cold boot and 5 activations a channel (default 10)
  claim      claims from a dock of primed and of restored clones
             --claims N   claims of each kind (default 100)

Writes bench/results/<benchmark>.json and .md. Run it on an idle machine.`;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "10" },
    claims: { type: "string", default: "100" },
    help: { type: "boolean" },
  },
});
const [name] = positionals;
if (values.help || name === undefined) {
  console.log(HELP);
} else if (name === "activate") {
  await benchActivate(Number(values.rounds));
} else if (name === "claim") {
  await benchClaim(Number(values.claims));
} else {
  console.error(`there is no benchmark "${name}"\n\n${HELP}`);
  process.exitCode = 2;
}
