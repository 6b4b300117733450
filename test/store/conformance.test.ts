import { EmbeddedTarget } from "../support/embedded-target.ts";
import { storeConformance } from "../support/store-conformance.ts";

storeConformance("the embedded store", () => EmbeddedTarget.open(), { runs: 100, isDeterministic: true });
storeConformance(
  "the embedded store that checkpoints all the time",
  () => EmbeddedTarget.open({ checkpointBytes: 1 }),
  {
    runs: 20,
  },
);
