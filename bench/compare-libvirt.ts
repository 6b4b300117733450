import { chmod, chown, copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type CopiedRound, toRound, warmGuest } from "./compare-loadvm.ts";
import { check } from "./context.ts";
import { Guest, type Identity, newIdentity } from "./guest.ts";
import type { BootMachine } from "./machine.ts";
import { copyImage, start, tool } from "./tools.ts";

const DOMAIN = "vm-substrate-bench";
const NOBODY = 65_534;
const DAEMON_TIMEOUT_MS = 20_000;
const CLEAN_UP_TIMEOUT_MS = 10_000;
const POLL_MS = 50;
/** On the loopback, and nobody listens there. */
const UDP_PORTS = [57_731, 57_732] as const;

/** How to get what is needed; the benchmark itself installs nothing. */
export const LIBVIRT_SETUP =
  "apt-get install --no-install-recommends libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients";

/**
 * `virsh save` once, and `virsh restore` for each VM, by a libvirtd of its own: unprivileged (as nobody when this is root), with
 * all its directories below one, and no systemd. It ends with the benchmark.
 */
export class LibvirtBaseline implements AsyncDisposable {
  readonly #dir: string;
  readonly #signal: AbortSignal;
  readonly #user = process.getuid?.() === 0 ? NOBODY : undefined;
  readonly #owned = new AsyncDisposableStack();
  /** A `virsh` that only asks for the connection's URI: what each call costs before it does anything. */
  virshMs = 0;

  private constructor(dir: string, signal: AbortSignal) {
    this.#dir = dir;
    this.#signal = signal;
  }

  /** @throws when libvirt is missing or does not work here, with its own words */
  static async prepare(machine: BootMachine, dir: string, signal: AbortSignal): Promise<LibvirtBaseline> {
    const baseline = new LibvirtBaseline(dir, signal);
    await using undo = new AsyncDisposableStack();
    undo.use(baseline);
    await baseline.#startDaemon();
    await baseline.#save(machine);
    undo.move();
    return baseline;
  }

  /** One VM, from the copy of its disk to its end. */
  async round(identity: Identity | undefined): Promise<CopiedRound> {
    const signal = this.#signal;
    const marks = [performance.now()];
    await copyImage(this.#file("saved.qcow2"), this.#file("disk.qcow2"), signal);
    await this.#give("disk.qcow2");
    marks.push(performance.now());
    await this.#virsh(["restore", this.#file("saved.state")]);
    marks.push(performance.now());
    {
      await using guest = await Guest.connect(this.#sockets, signal);
      // The MAC address is not looked at from outside: another virsh would count against libvirt.
      if (identity !== undefined) await guest.personalise(identity);
      marks.push(performance.now());
      const hostname = await guest.hostname(signal);
      marks.push(performance.now());
      check(hostname === (identity ?? newIdentity(0)).hostname, `the agent says that it is ${hostname}`);
    }
    await this.#virsh(["destroy", DOMAIN]);
    return toRound(marks);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#virsh(["destroy", DOMAIN], AbortSignal.timeout(CLEAN_UP_TIMEOUT_MS)).catch(() => {}); // if there is one
    await this.#owned[Symbol.asyncDispose]();
  }

  async #startDaemon(): Promise<void> {
    const folders = ["", "run", "config", "config/libvirt", "data", "cache"];
    for (const folder of folders) await mkdir(this.#file(folder), { recursive: true, mode: 0o700 });
    await writeFile(this.#file("config/libvirt/qemu.conf"), 'stdio_handler = "file"\n');
    for (const name of [...folders, "config/libvirt/qemu.conf"]) await this.#give(name);
    const { env, user } = this.#as();
    const daemon = await start(["libvirtd"], this.#file("libvirtd.log"), { env, user, cwd: this.#dir });
    this.#owned.use(daemon);
    const deadline = AbortSignal.timeout(DAEMON_TIMEOUT_MS);
    for (let last: unknown; ; ) {
      check(!deadline.aborted, `libvirtd does not answer (${this.#file("libvirtd.log")}): ${String(last)}`);
      try {
        await this.#virsh(["version"]);
        break;
      } catch (error) {
        this.#signal.throwIfAborted();
        last = error;
        await delay(POLL_MS, undefined, { signal: this.#signal });
      }
    }
    const startedAt = performance.now();
    await this.#virsh(["uri"]);
    this.virshMs = performance.now() - startedAt;
  }

  async #save(machine: BootMachine): Promise<void> {
    const signal = this.#signal;
    await copyFile(machine.kernel, this.#file("kernel"));
    await copyFile(machine.initrd, this.#file("initrd"));
    await tool(["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", machine.disk, this.#file("disk.qcow2")], {
      signal,
    });
    await writeFile(this.#file("domain.xml"), this.#domain(machine));
    for (const name of ["kernel", "initrd", "disk.qcow2", "domain.xml"]) await this.#give(name);
    await this.#virsh(["create", this.#file("domain.xml")]);
    {
      await using guest = await Guest.connect(this.#sockets, signal);
      await warmGuest(guest, signal);
    }
    await this.#virsh(["save", DOMAIN, this.#file("saved.state")]);
    await copyImage(this.#file("disk.qcow2"), this.#file("saved.qcow2"), signal);
  }

  async #virsh(args: readonly string[], signal = this.#signal): Promise<string> {
    return tool(["virsh", "-q", "-c", "qemu:///session", ...args], { signal, ...this.#as(), cwd: this.#dir });
  }

  #as() {
    const env = {
      PATH: `${process.env.PATH}:/usr/sbin`,
      HOME: this.#dir,
      XDG_RUNTIME_DIR: this.#file("run"),
      XDG_CONFIG_HOME: this.#file("config"),
      XDG_DATA_HOME: this.#file("data"),
      XDG_CACHE_HOME: this.#file("cache"),
      LIBVIRT_AUTOSTART: "0",
    };
    return { env, user: this.#user };
  }

  async #give(name: string): Promise<void> {
    if (this.#user !== undefined) await chown(this.#file(name), this.#user, this.#user);
    else await chmod(this.#file(name), 0o700);
  }

  #file(name: string): string {
    return join(this.#dir, name);
  }

  get #sockets() {
    return { agent: this.#file("agent"), helper: this.#file("helper") };
  }

  /** The same machine, processor, memory and devices, as far as libvirt lets one say so. It chooses the PCI slots itself. */
  #domain({ machineType, cpuModel, memoryMiB, commandLine }: BootMachine): string {
    const [model = "", ...features] = cpuModel.split(",");
    // libvirt would take the agent's socket, which serves one client, for itself; so it is told nothing of the agent.
    const name = "org.qemu.guest_agent.0";
    const port = { driver: "virtserialport", bus: "virtio-serial0.0", nr: 3, chardev: "agent0", name };
    const agent = [
      ["-chardev", `socket,id=agent0,path=${this.#sockets.agent},server=on,wait=off`],
      ["-device", JSON.stringify(port)], // as JSON, since QEMU makes all other devices before those that are
    ].flat();
    return `<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>${DOMAIN}</name>
  <memory unit='MiB'>${memoryMiB}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='${machineType}'>hvm</type>
    <kernel>${this.#file("kernel")}</kernel>
    <initrd>${this.#file("initrd")}</initrd>
    <cmdline>${commandLine}</cmdline>
  </os>
  <features><acpi/><apic/><vmport state='off'/></features>
  <cpu mode='custom' match='exact' check='none'>
    <model>${model}</model>
    ${features.map((feature) => `<feature policy='require' name='${feature.slice(1)}'/>`).join("")}
  </cpu>
  <on_reboot>destroy</on_reboot>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='${this.#file("disk.qcow2")}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='udp'>
      <source address='127.0.0.1' port='${UDP_PORTS[0]}'><local address='127.0.0.1' port='${UDP_PORTS[1]}'/></source>
      <model type='virtio'/>
      <rom enabled='no'/>
    </interface>
    <channel type='unix'>
      <source mode='bind' path='${this.#sockets.helper}'/>
      <target type='virtio' name='org.vm-substrate.helper.0'/>
    </channel>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline>${agent.map((value) => `<qemu:arg value='${value}'/>`).join("")}</qemu:commandline>
</domain>
`;
  }
}
