import { useMemo } from "preact/hooks";
import { type Series, TimeChart } from "../charts/time-chart.tsx";
import { formatCount, formatMs, formatNumber } from "../format/units.ts";
import { chartColumns } from "../state/chart-columns.ts";
import { Card } from "../ui/card.tsx";
import { useSelect } from "./page-context.ts";

const CLAIMS: readonly Series[] = [
  { label: "claims", colour: "--chart-claims", kind: "area" },
  { label: "failures", colour: "--chart-failures", kind: "bars" },
];
const LATENCY: readonly Series[] = [
  { label: "p99", colour: "--chart-p99", kind: "line" },
  { label: "p95", colour: "--chart-p95", kind: "line" },
  { label: "p50", colour: "--chart-p50", kind: "line" },
];

/** The last ten minutes. */
export function History() {
  const seconds = useSelect((state) => state.seconds) ?? [];
  const now = Date.now() / 1000;
  const claims = useMemo(
    () => chartColumns(seconds, now, [(second) => second.claims, (second) => second.failures]),
    [seconds],
  );
  const latency = useMemo(
    () => chartColumns(seconds, now, [(second) => second.p99Ms, (second) => second.p95Ms, (second) => second.p50Ms]),
    [seconds],
  );
  const made = seconds.reduce((sum, second) => sum + second.claims, 0);
  const most = seconds.reduce((max, second) => Math.max(max, second.claims), 0);
  return (
    <>
      <Card title="Claims per second" aside={<span class="faint">10 min</span>}>
        <TimeChart
          description={`Claims per second over ten minutes: ${formatCount(made, "claim")} in all, at most ${most} in a second.`}
          series={CLAIMS}
          columns={claims}
          format={formatNumber}
          scale="linear"
          empty="No claims in the last 10 minutes."
        />
      </Card>
      <Card title="Activation latency" aside={<span class="faint">10 min, by the second, logarithmic</span>}>
        <TimeChart
          description="Percentiles 50, 95 and 99 of the time that activations took, for each second of ten minutes."
          series={LATENCY}
          columns={latency}
          format={formatMs}
          scale="log"
          empty="No activations in the last 10 minutes."
        />
      </Card>
    </>
  );
}
