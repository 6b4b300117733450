import type { RefObject } from "preact";
import { useMemo, useState } from "preact/hooks";
import type { VmView } from "../../api/index.ts";
import { formatCount, formatMs } from "../format/units.ts";
import { DEFAULT_SORT, labelsOf, listVms, type Sort, type SortKey, substrateName } from "../state/vm-list.ts";
import { Card } from "../ui/card.tsx";
import { Age, Remaining } from "../ui/clock.tsx";
import { Icon } from "../ui/icon.tsx";
import { Skeleton } from "../ui/skeleton.tsx";
import { usePage, useSelect } from "./page-context.ts";
import { VmActions } from "./vm-actions.tsx";
import { VmState } from "./vm-state.tsx";

interface Column {
  readonly title: string;
  readonly sort?: SortKey;
  readonly class: string;
}

/** `wide`: not on a narrow screen, where the panel has it. */
const COLUMNS: readonly Column[] = [
  { title: "State", sort: "state", class: "column-state" },
  { title: "Hostname", sort: "hostname", class: "column-name" },
  { title: "Addresses", class: "column-address wide" },
  { title: "Substrate", sort: "substrate", class: "column-substrate wide" },
  { title: "Origin", class: "column-origin wide" },
  { title: "Took", sort: "took", class: "number column-took wide" },
  { title: "Labels", class: "column-labels wide" },
  { title: "Age", sort: "age", class: "number column-time" },
  { title: "Expires in", sort: "expires", class: "number column-time" },
];

interface VmsProps {
  readonly chosen: string | undefined;
  readonly filterRef: RefObject<HTMLInputElement | null>;
}

export function Vms({ chosen, filterRef }: VmsProps) {
  const { mayWrite, show } = usePage();
  const vms = useSelect((state) => state.vms);
  const [filter, setFilter] = useState("");
  const [sort, setSort] = useState(DEFAULT_SORT);
  const list = useMemo(() => listVms(vms?.values() ?? [], filter, sort), [vms, filter, sort]);
  const more = list.matching - list.rows.length;
  const field = (
    <label class="filter">
      <Icon name="search" />
      <span class="unseen">Filter the VMs</span>
      <input
        ref={filterRef}
        type="search"
        placeholder="Filter: name, address, state, key=value"
        autocomplete="off"
        spellcheck={false}
        value={filter}
        onInput={({ currentTarget }) => setFilter(currentTarget.value)}
      />
      <kbd class="wide-only">/</kbd>
    </label>
  );
  return (
    <Card
      title="VMs"
      anchor="vms"
      class="vms"
      aside={
        <>
          <output class="faint">
            {filter === "" ? formatCount(list.all, "VM") : `${list.matching} of ${formatCount(list.all, "VM")}`}
          </output>
          {field}
        </>
      }
    >
      {vms === undefined && <Skeleton lines={8} />}
      {vms?.size === 0 && (
        <p class="empty">
          No VMs yet.{" "}
          {mayWrite && (
            <button type="button" class="link" onClick={() => show({ kind: "activate" })}>
              Activate one
            </button>
          )}
          {mayWrite ? ", or run: " : "To make one, run: "}
          <code>substrate activate 1 --substrate mini</code>
        </p>
      )}
      {list.all > 0 && list.matching === 0 && <p class="empty">No VM has all of “{filter}”.</p>}
      {list.rows.length > 0 && (
        <div class="vm-scroll">
          <table class="vm-table">
            <caption class="unseen">VMs, sorted by {sort.by}</caption>
            <thead>
              <tr>
                {COLUMNS.map((column) => (
                  <Heading key={column.title} column={column} sort={sort} onSort={setSort} />
                ))}
                {mayWrite && (
                  <th scope="col" class="column-actions">
                    <span class="unseen">Actions</span>
                  </th>
                )}
              </tr>
            </thead>
            <tbody>
              {list.rows.map((vm) => (
                <Row key={vm.id} vm={vm} isChosen={vm.id === chosen} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {more > 0 && <p class="more">and {formatCount(more, "VM")} more; the filter finds them</p>}
    </Card>
  );
}

interface HeadingProps {
  readonly column: Column;
  readonly sort: Sort;
  readonly onSort: (sort: Sort) => void;
}

function Heading({ column: { title, sort: by, class: extra }, sort, onSort }: HeadingProps) {
  if (by === undefined) {
    return (
      <th scope="col" class={extra}>
        {title}
      </th>
    );
  }
  const isSorted = sort.by === by;
  const order = sort.descending ? "descending" : "ascending";
  return (
    <th scope="col" class={extra} aria-sort={isSorted ? order : "none"}>
      <button type="button" class="sort" onClick={() => onSort({ by, descending: isSorted && !sort.descending })}>
        {title}
        <span class="sort-mark" aria-hidden="true">
          {isSorted ? (sort.descending ? "↓" : "↑") : ""}
        </span>
      </button>
    </th>
  );
}

function Row({ vm, isChosen }: { readonly vm: VmView; readonly isChosen: boolean }) {
  const page = usePage();
  // The same object as before where nothing changed: Preact then does not look at the row at all.
  return useMemo(
    () => (
      <tr class={isChosen ? "chosen" : undefined}>
        <td class="column-state">
          <VmState state={vm.state} />
        </td>
        <td class="column-name">
          <button
            type="button"
            class="row-link"
            data-vm={vm.id}
            aria-expanded={isChosen}
            onClick={() => page.choose(vm.id)}
          >
            {vm.hostname}
          </button>
          <span class="narrow-only faint">{vm.address}</span>
        </td>
        <td class="column-address wide">
          {vm.address}
          {vm.address6 !== null && <span class="faint">{vm.address6}</span>}
        </td>
        <td class="column-substrate wide">{substrateName(vm.substrate)}</td>
        <td class="column-origin wide">
          <span class={`badge origin-${vm.origin}`}>{vm.origin}</span>
        </td>
        <td class="number column-took wide">{formatMs(vm.timings.totalMs)}</td>
        <td class="column-labels wide">
          <Labels vm={vm} />
        </td>
        <td class="number column-time">
          <Age since={vm.createdAt} />
        </td>
        <td class="number column-time">
          <Remaining until={vm.expiresAt} />
        </td>
        {page.mayWrite && (
          <td class="column-actions">
            <VmActions vm={vm} />
          </td>
        )}
      </tr>
    ),
    [vm, isChosen, page],
  );
}

export function Labels({ vm }: { readonly vm: VmView }) {
  return (
    <span class="labels">
      {labelsOf(vm).map((label) => (
        <span key={label} class="label" title={label}>
          {label}
        </span>
      ))}
    </span>
  );
}
