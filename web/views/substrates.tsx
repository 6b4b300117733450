import type { SubstrateView } from "../../api/index.ts";
import { formatBytes, formatCount, formatNumber, percentOf } from "../format/units.ts";
import { Card } from "../ui/card.tsx";
import { Age } from "../ui/clock.tsx";
import { Skeleton } from "../ui/skeleton.tsx";
import { usePage, useSelect } from "./page-context.ts";

export function Substrates() {
  const substrates = useSelect((state) => state.substrates);
  return (
    <Card
      title="Substrates"
      anchor="substrates"
      aside={<span class="faint">frozen VMs, of which clones are made</span>}
    >
      {substrates === undefined && <Skeleton lines={4} />}
      {substrates?.length === 0 && (
        <p class="empty">
          No substrates. To build one, run: <code>substrate build mini</code>
        </p>
      )}
      <ul class="substrates">
        {substrates
          ?.toSorted((a, b) => a.name.localeCompare(b.name) || b.version - a.version)
          .map((substrate) => (
            <Substrate key={`${substrate.name}@${substrate.version}`} substrate={substrate} />
          ))}
      </ul>
    </Card>
  );
}

function Substrate({ substrate }: { readonly substrate: SubstrateView }) {
  const { mayWrite, show } = usePage();
  const { name, version, recipe, accelerator, qemu, memory, generalized, createdAt } = substrate;
  const { assignedBytes, usedBytes, residentBytes } = memory;
  const reference = `${name}@${version}`;
  return (
    <li class="substrate">
      <h3>
        {reference}
        <span class="badge">{recipe}</span>
        <span class="faint">
          <Age since={createdAt} /> old
        </span>
        {mayWrite && (
          <button
            type="button"
            class="small-button"
            aria-label={`Activate ${reference}`}
            onClick={() => show({ kind: "activate", substrate: reference })}
          >
            Activate
          </button>
        )}
      </h3>
      <svg
        class="memory-bar"
        role="img"
        aria-label={`Of ${formatBytes(assignedBytes)} assigned, ${formatBytes(usedBytes)} are used and ${formatBytes(residentBytes)} resident.`}
      >
        <rect class="track" width="100%" height="100%" />
        <rect class="used" width={`${percentOf(usedBytes, assignedBytes)}%`} height="100%" />
        <rect class="resident" width={`${percentOf(residentBytes, assignedBytes)}%`} y="60%" height="40%" />
      </svg>
      <dl class="facts columns">
        <dt>assigned</dt>
        <dd title={`${formatNumber(assignedBytes)} bytes`}>{formatBytes(assignedBytes)}</dd>
        <dt>
          <i class="swatch used" /> used
        </dt>
        <dd title={`${formatNumber(usedBytes)} bytes`}>{formatBytes(usedBytes)}</dd>
        <dt>
          <i class="swatch resident" /> in the RAM file
        </dt>
        <dd title={`${formatNumber(residentBytes)} bytes`}>{formatBytes(residentBytes)}</dd>
        <dt>made by</dt>
        <dd title={qemu}>
          QEMU {qemu.split(" ")[0]}, {accelerator}
        </dd>
      </dl>
      <Generalized traces={generalized} />
    </li>
  );
}

/** What was taken out of the guest, and why. */
function Generalized({ traces }: { readonly traces: SubstrateView["generalized"] }) {
  if (traces.length === 0) return <p class="faint">Generalized: there was nothing to take out.</p>;
  const files = traces.reduce((sum, trace) => sum + trace.files, 0);
  return (
    <details>
      <summary>
        Generalized: {formatCount(traces.length, "trace")}, {formatCount(files, "file")}
      </summary>
      <ul class="traces">
        {traces.map(({ trace, why, files: number, paths }) => (
          <li key={trace}>
            <b>{trace}</b> <span class="faint">{formatCount(number, "file")}</span>
            <p>{why}</p>
            {paths.length > 0 && (
              <code title={paths.join("\n")}>
                {paths.slice(0, 3).join("  ")}
                {paths.length > 3 ? "  …" : ""}
              </code>
            )}
          </li>
        ))}
      </ul>
    </details>
  );
}
