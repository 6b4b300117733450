import type { Vm } from "../../lib/clone/index.ts";
import type { ActivateSpec, Pool } from "../../lib/pool/index.ts";
import type { FakePool } from "./fake-host.ts";
import type { FakeVm } from "./fake-qemu-control.ts";

/** A call for one VM. */
export async function activateOne(pool: Pool, spec: ActivateSpec = { substrate: "fake" }): Promise<Vm> {
  const [vm] = await pool.activate(1, spec);
  if (vm === undefined) throw new Error("no VM");
  return vm;
}

/** What a program in the guest printed, without the last newline. */
export async function said(vm: Vm, ...argv: string[]): Promise<string> {
  return (await vm.exec(argv)).stdout.trimEnd();
}

export async function textOf(vm: Vm, path: string): Promise<string> {
  return new TextDecoder().decode(await vm.readFile(path));
}

/** Every request that the guest's helper was sent, the oldest first. */
export async function helperRequests(vm: Vm): Promise<string[]> {
  return (await said(vm, "helper-log")).split("\n");
}

/** A VM as its fake QEMU sees it. */
export function fakeOf({ qemu }: Pick<FakePool, "qemu">, { pid }: Pick<Vm, "pid">): FakeVm {
  const vm = qemu.vms.find((one) => one.pid === pid);
  if (vm === undefined) throw new Error(`no fake VM has the PID ${pid}`);
  return vm;
}

/** "released fake-0" and so on, as they happen. */
export function announced(pool: Pool): string[] {
  const seen: string[] = [];
  for (const name of ["activated", "released", "exit", "parked", "resumed", "unresponsive", "responsive"] as const) {
    pool.events.on(name, (...[vm]) => void seen.push(`${name} ${vm.hostname}`));
  }
  return seen;
}
