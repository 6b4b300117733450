import type { DockView } from "../../api/index.ts";
import { Gauge } from "../charts/gauge.tsx";
import { formatMiB, UNKNOWN } from "../format/units.ts";
import { Card } from "../ui/card.tsx";
import { Skeleton } from "../ui/skeleton.tsx";
import { useSelect } from "./page-context.ts";

export function Docks() {
  const docks = useSelect((state) => state.docks);
  return (
    <Card title="Docks" anchor="docks" aside={<span class="faint">paused clones, ready to be claimed</span>}>
      {docks === undefined && <Skeleton lines={4} />}
      {docks?.size === 0 && (
        <p class="empty">
          No docks. Claims then start clones of their own. To keep some ready, run:{" "}
          <code>substrate dock mini --min 4</code>
        </p>
      )}
      <ul class="docks">
        {[...(docks ?? [])]
          .toSorted(([a], [b]) => a.localeCompare(b))
          .map(([key, dock]) => (
            <Dock key={key} name={key} dock={dock} />
          ))}
      </ul>
    </Card>
  );
}

function Dock({ name, dock }: { readonly name: string; readonly dock: DockView }) {
  const { ready, starting, target, min, max, maxMiB, memoryMiB, failures, breaker, lastError } = dock;
  const words = `${name}: ${ready} of at most ${max} ready, ${target} wanted, ${starting} starting`;
  return (
    <li class={`dock ${breaker === "closed" ? "" : "bad"}`}>
      <Gauge value={ready} coming={starting} target={target} max={max} description={words} />
      <div class="dock-facts">
        <h3>
          {name}
          {!dock.pinned && <small>v{dock.version}</small>}
          <span class="badge">{dock.primed ? "primed" : "restored"}</span>
          {breaker !== "closed" && <span class="badge bad">breaker {breaker}</span>}
        </h3>
        <dl class="facts">
          <dt>target</dt>
          <dd>
            {target}{" "}
            <span class="faint">
              ({min} to {max})
            </span>
          </dd>
          <dt>starting</dt>
          <dd>{starting}</dd>
          <dt>memory</dt>
          <dd>
            {memoryMiB === null ? UNKNOWN : formatMiB(memoryMiB)}
            {maxMiB !== null && <span class="faint"> of {formatMiB(maxMiB)}</span>}
          </dd>
          <dt>failures</dt>
          <dd class={failures > 0 ? "warn" : undefined}>{failures}</dd>
        </dl>
      </div>
      {lastError !== null && <p class="dock-error">{lastError}</p>}
    </li>
  );
}
