import { firmwareArguments, firmwareMachineOptions } from "./firmware.ts";
import { commaOptions } from "./options.ts";
import type { MachineGrowth, VmConfig } from "./vm-config.ts";

/** Every deny that QEMU has; `spawn=deny` is why migration goes over descriptors and sockets, never `exec:`. */
export const SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/** Memory modules that can be plugged into a machine; each costs the guest's kernel an ACPI device. */
const MEMORY_SLOTS = 4;

/** Ids that other parts use over QMP. */
export const NIC_ID = "net0";
export const DISK_NODE = "disk0";
export const DISK_DEVICE_ID = "blk0";
/** Of the guest's memory, also its name in a migration stream. */
export const RAM_BLOCK = "ram0";
const SEED_NODE = "seed0";
/**
 * A guest whose read finds the host's disk full is stopped, as it is by default for its writes, and the read is tried again when it
 * runs on. Reads write where a block job copies what they read (docs/adr/0024-flattening.md). No part of `-device`, because this is
 * not about the machine that the guest sees: substrates need not be frozen anew for it.
 */
const DISK_FULL_STOPS = "driver=virtio-blk-pci,property=rerror,value=enospc";
/**
 * The hub that the NIC is plugged into. A NIC's back end cannot be changed while it runs, but what else is on its hub can:
 * a clone joins any network after it was started. A hub also has no state in the migration stream, as slirp would.
 */
export const HUB_ID = 0;
/**
 * A port of the hub that leads nowhere. Without it the NIC would be alone on the hub, and QEMU would hold back what the guest
 * sends for ever, rather than drop it: from the first packet on the guest could not send any more, plugged in or not.
 * Source: QEMU's net/hub.c, net_hub_port_can_receive.
 */
const SINK_ID = "sink0";
/** The one device whose arguments differ between a substrate and its clones. */
export const GENERATION_DRIVER = "vmgenid";
/** Of the serial console. */
export const CONSOLE_ID = "console0";

/** The guest's console goes to a ring in QEMU's memory, so that a chatty guest cannot fill the host (CVE-2014-3672). */
export const CONSOLE_RING_BYTES = 64 * 1024;

/**
 * TCG's cache of translated code, per process. QEMU's default is up to 1 GiB of address space that fills as the guest
 * runs; a miniature guest's working set fits in this.
 */
const TCG_CACHE_MIB = 32;
/**
 * The cache is cut into regions of 2 MiB. A processor that is plugged in takes one for itself, and QEMU 7.2 aborts when
 * those before it have taken all (tcg_region_initial_alloc): two for each leave half of them free in a clone that has only
 * just been made. Source: QEMU's tcg/region.c, tcg_n_regions.
 */
const TCG_CACHE_PER_CPU_MIB = 4;

/** Port 0 is for consoles, 1 the agent's and 2 the helper's. */
const SERIAL_PORTS = 4;
export const SERIAL_BUS = "serial0.0";
/** The one that is left, for what is plugged in while the VM runs. Another number of ports would be another machine. */
export const FREE_PORT = 3;
/**
 * An interrupt for each queue (two a port, two of control) and one for the configuration. With fewer they share one, and the
 * guest looks at every port whenever one has something.
 */
const SERIAL_VECTORS = 11;

const PCI_SLOTS = { serial: "0x3", disk: "0x4", nic: "0x5", seed: "0x6" } as const;

/**
 * QEMU's argv for a configuration. Pure.
 *
 * Device order and PCI slots are fixed, because a clone must present the same machine as its substrate. JSON is used
 * where QEMU 7.2 takes it (-object, -device, -blockdev, -netdev), escaped options elsewhere.
 * Source: qemu(1); QEMU docs "VM templating".
 */
export function qemuArgv(config: VmConfig): string[] {
  return [
    ["-name", commaOptions({ guest: vmName(config.id) })],
    ["-uuid", config.uuid],
    ["-nodefaults"],
    ["-no-user-config"],
    ["-no-reboot"],
    ["-display", "none"],
    ["-sandbox", SANDBOX],
    ["-machine", machineOptions(config)],
    ["-accel", acceleratorOptions(config)],
    ["-cpu", config.cpuModel],
    ["-smp", commaOptions({ cpus: config.cpus, ...pluggableCpus(config.growth) })],
    ["-m", commaOptions({ size: `${config.memory.sizeMiB}M`, ...pluggableMemory(config) })],
    ["-object", JSON.stringify(memoryBackend(config.memory))],
    ...kernelArguments(config.kernel),
    ["-chardev", commaOptions({ id: CONSOLE_ID, size: CONSOLE_RING_BYTES }, "ringbuf")],
    ["-serial", `chardev:${CONSOLE_ID}`],
    ["-chardev", listeningSocket("qmp0", config.sockets.qmp)],
    ["-mon", commaOptions({ chardev: "qmp0", mode: "control" })],
    device({
      driver: "virtio-serial-pci",
      id: "serial0",
      addr: PCI_SLOTS.serial,
      max_ports: SERIAL_PORTS,
      vectors: SERIAL_VECTORS,
    }),
    ["-chardev", listeningSocket("agent0", config.sockets.agent)],
    device({ driver: "virtserialport", bus: SERIAL_BUS, nr: 1, chardev: "agent0", name: "org.qemu.guest_agent.0" }),
    ["-chardev", listeningSocket("helper0", config.sockets.helper)],
    device({
      driver: "virtserialport",
      bus: SERIAL_BUS,
      nr: 2,
      chardev: "helper0",
      name: "org.vm-substrate.helper.0",
    }),
    ["-blockdev", JSON.stringify(disk(config.disk))],
    ["-global", DISK_FULL_STOPS],
    device({ driver: "virtio-blk-pci", id: DISK_DEVICE_ID, drive: DISK_NODE, addr: PCI_SLOTS.disk }),
    ...seedArguments(config.seed),
    ...firmwareArguments(config.firmware),
    ["-netdev", JSON.stringify({ type: "hubport", id: "netdev0", hubid: HUB_ID })],
    ["-netdev", JSON.stringify({ type: "hubport", id: SINK_ID, hubid: HUB_ID })],
    device({ driver: "virtio-net-pci", id: NIC_ID, netdev: "netdev0", addr: PCI_SLOTS.nic, romfile: "" }),
    ...generationArguments(config.generationId),
    ...incomingArguments(config.incoming ?? false),
  ].flat();
}

/** What QEMU calls a VM: `query-name`. */
export function vmName(id: string): string {
  return `vm-substrate-${id}`;
}

/** All in one socket, so that what is plugged in looks like further cores of the same processor. */
function pluggableCpus(growth: MachineGrowth | undefined) {
  return growth === undefined ? {} : { maxcpus: growth.maxCpus, sockets: 1, cores: growth.maxCpus, threads: 1 };
}

/** QEMU refuses slots for modules where no module would fit. */
function pluggableMemory({ growth, memory }: VmConfig) {
  if (growth === undefined || growth.maxMemoryMiB <= memory.sizeMiB) return {};
  return { slots: MEMORY_SLOTS, maxmem: `${growth.maxMemoryMiB}M` };
}

function machineOptions({ machine, firmware }: VmConfig): string {
  const options = {
    usb: false,
    vmport: false,
    "dump-guest-core": false,
    "mem-merge": false,
    "memory-backend": RAM_BLOCK,
  };
  return commaOptions({ ...options, ...firmwareMachineOptions(firmware) }, machine);
}

function acceleratorOptions({ accelerator, growth }: VmConfig): string {
  if (accelerator !== "tcg") return accelerator;
  const cacheMiB = Math.max(TCG_CACHE_MIB, (growth?.maxCpus ?? 1) * TCG_CACHE_PER_CPU_MIB);
  return commaOptions({ thread: "multi", "tb-size": cacheMiB }, "tcg");
}

function memoryBackend(memory: VmConfig["memory"]) {
  const bytes = memory.sizeMiB * 1024 * 1024;
  return {
    "qom-type": "memory-backend-file",
    id: RAM_BLOCK,
    size: bytes,
    "mem-path": memory.file,
    share: memory.share,
  };
}

function kernelArguments(kernel: VmConfig["kernel"]): string[][] {
  if (kernel === undefined) return [];
  return [
    ["-kernel", kernel.image],
    ["-initrd", kernel.initrd],
    ["-append", kernel.commandLine],
  ];
}

function listeningSocket(id: string, path: string): string {
  return commaOptions({ id, path, server: true, wait: false }, "socket");
}

function device(properties: Readonly<Record<string, string | number | boolean>>): string[] {
  return ["-device", JSON.stringify(properties)];
}

/** Formats are always named: a probed format lets an image name any host file as its backing (CVE class of libvirt). */
function disk({ file, backingFile }: VmConfig["disk"]) {
  const overlay = {
    driver: "qcow2",
    "node-name": DISK_NODE,
    discard: "unmap",
    file: { driver: "file", filename: file },
  };
  if (backingFile === undefined) return overlay;
  const backing = {
    driver: "qcow2",
    "read-only": true,
    file: { driver: "file", filename: backingFile, "read-only": true },
  };
  return { ...overlay, backing };
}

/** Only for a first boot, whose machine is never frozen. */
function seedArguments(seed: string | undefined): string[][] {
  if (seed === undefined) return [];
  const file = { driver: "file", filename: seed, "read-only": true };
  return [
    ["-blockdev", JSON.stringify({ driver: "raw", "node-name": SEED_NODE, "read-only": true, file })],
    device({ driver: "virtio-blk-pci", id: "blk1", drive: SEED_NODE, addr: PCI_SLOTS.seed }),
  ];
}

/** A new id tells a guest's kernel that it is a copy, and must reseed its generator. Source: QEMU docs, "Virtual Machine Generation ID". */
function generationArguments(id: string | undefined): string[][] {
  return id === undefined ? [] : [device({ driver: GENERATION_DRIVER, guid: id })];
}

/** `-S`: stay paused after the load. Deferred, because a capability of the stream must be set before it is read. */
function incomingArguments(incoming: boolean): string[][] {
  return incoming ? [["-S"], ["-incoming", "defer"]] : [];
}
