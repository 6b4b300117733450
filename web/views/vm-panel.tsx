import { useEffect, useRef } from "preact/hooks";
import type { VmView } from "../../api/index.ts";
import { Waterfall } from "../charts/phase-bar.tsx";
import { formatBytes, formatMiB, formatMs, formatNumber, UNKNOWN } from "../format/units.ts";
import { substrateName } from "../state/vm-list.ts";
import { Age, Remaining } from "../ui/clock.tsx";
import { Copyable } from "../ui/copyable.tsx";
import { Icon } from "../ui/icon.tsx";
import { usePoll } from "../ui/poll.ts";
import { Console } from "./console.tsx";
import { ExtendForm } from "./extend-form.tsx";
import { usePage, useSelect } from "./page-context.ts";
import { VmActions } from "./vm-actions.tsx";
import { VmState } from "./vm-state.tsx";
import { Labels } from "./vms.tsx";

const MEMORY_EVERY_MS = 5000;

/** All that is known of one VM, beside the page. */
export function VmPanel({ id }: { readonly id: string }) {
  const { choose } = usePage();
  const alive = useSelect((state) => state.vms?.get(id));
  const ended = useSelect((state) => state.ended.get(id));
  const activated = useSelect((state) => state.activations.find((vm) => vm.id === id));
  const vm = alive ?? ended ?? activated;
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), [id]);
  return (
    <aside class="panel" aria-label={vm === undefined ? "VM" : `VM ${vm.hostname}`}>
      <header class="panel-head">
        <h2 ref={heading} tabIndex={-1}>
          {vm?.hostname ?? id}
        </h2>
        {vm !== undefined && <VmState state={alive === undefined && vm.state === "running" ? "released" : vm.state} />}
        <button
          type="button"
          class="icon-button"
          aria-label="Close the panel"
          title="Close (Esc)"
          onClick={() => choose(undefined)}
        >
          <Icon name="close" />
        </button>
      </header>
      {vm === undefined ? (
        <p class="empty">It is not there any more.</p>
      ) : (
        <div class="panel-body">
          {alive === undefined ? (
            <p class="note">It has ended. This is what was known of it.</p>
          ) : (
            <VmActions vm={alive} words />
          )}
          <Identity vm={vm} />
          {alive !== undefined && <LiveParts vm={alive} />}
          <h3>Activation, {formatMs(vm.timings.totalMs)}</h3>
          <Waterfall vm={vm} />
          <h3>Keys</h3>
          <dl class="facts wrap">
            <dt>SSH host key</dt>
            <dd>
              <Copyable value={vm.sshHostKey} name="the SSH host key" />
            </dd>
            <dt>machine-id</dt>
            <dd>
              <Copyable value={vm.machineId} name="the machine-id" />
            </dd>
          </dl>
        </div>
      )}
    </aside>
  );
}

function Identity({ vm }: { readonly vm: VmView }) {
  const { cpus, memoryMiB, diskMiB } = vm.resources;
  return (
    <dl class="facts wrap">
      <dt>IPv4</dt>
      <dd>
        <Copyable value={vm.address} name="the IPv4 address" />
      </dd>
      {vm.address6 !== null && (
        <>
          <dt>IPv6</dt>
          <dd>
            <Copyable value={vm.address6} name="the IPv6 address" />
          </dd>
        </>
      )}
      <dt>MAC</dt>
      <dd>
        <code>{vm.mac}</code>
      </dd>
      <dt>id</dt>
      <dd>
        <Copyable value={vm.id} name="the id" />
      </dd>
      <dt>substrate</dt>
      <dd>
        {substrateName(vm.substrate)}, {vm.origin}
      </dd>
      <dt>machine</dt>
      <dd>
        {cpus} {cpus === 1 ? "processor" : "processors"}, {formatMiB(memoryMiB)}, disk {formatMiB(diskMiB)}
      </dd>
      <dt>labels</dt>
      <dd>{Object.keys(vm.labels).length === 0 ? <span class="faint">none</span> : <Labels vm={vm} />}</dd>
      <dt>age</dt>
      <dd>
        <Age since={vm.createdAt} />
      </dd>
      <dt>expires in</dt>
      <dd>
        <Remaining until={vm.expiresAt} />
      </dd>
      <dt>QEMU</dt>
      <dd>process {vm.pid}</dd>
    </dl>
  );
}

/** What only a VM that is there has. */
function LiveParts({ vm }: { readonly vm: VmView }) {
  const { client, mayWrite } = usePage();
  const { value } = usePoll(vm.id, MEMORY_EVERY_MS, (signal) => client.memory(vm.id, signal));
  return (
    <>
      {mayWrite && <ExtendForm vm={vm} />}
      <h3>Memory of its process</h3>
      <dl class="facts">
        <dt>its share (Pss)</dt>
        <dd title={value && `${formatNumber(value.pssBytes)} bytes`}>
          {value === undefined ? UNKNOWN : formatBytes(value.pssBytes)}
        </dd>
        <dt>its own pages</dt>
        <dd title={value && `${formatNumber(value.privateBytes)} bytes`}>
          {value === undefined ? UNKNOWN : formatBytes(value.privateBytes)}
        </dd>
      </dl>
      <h3>Console</h3>
      <Console id={vm.id} />
    </>
  );
}
