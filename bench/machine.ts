import { readFile } from "node:fs/promises";
import type { Pool } from "vm-substrate";
import { check, release, SUBSTRATE } from "./context.ts";

/** The machine that a cold boot of the pool starts: its own QEMU arguments, so that what is compared with it is the same. */
export interface BootMachine {
  readonly argv: readonly string[];
  readonly kernel: string;
  readonly initrd: string;
  readonly commandLine: string;
  readonly machineType: string;
  readonly cpuModel: string;
  readonly memoryMiB: number;
  /** The substrate's frozen disk. */
  readonly disk: string;
}

export async function bootMachine(pool: Pool, signal: AbortSignal): Promise<BootMachine> {
  const vms = await pool.coldBoot(1, { substrate: SUBSTRATE }, { signal });
  // A forked QEMU's arguments are followed by the rest of the place that they were written into.
  const text = (await readFile(`/proc/${vms[0]?.pid}/cmdline`, "utf8")).replace(/\0+$/, "");
  const argv = text.split("\0").slice(1);
  await release(vms);
  const value = (option: string) => {
    const found = argv[argv.indexOf(option) + 1];
    check(argv.includes(option) && found !== undefined, `a cold boot's QEMU has no ${option}`);
    return found;
  };
  const { backing } = JSON.parse(value("-blockdev")) as { backing: { file: { filename: string } } };
  return {
    argv,
    kernel: value("-kernel"),
    initrd: value("-initrd"),
    commandLine: value("-append"),
    machineType: value("-machine").split(",")[0] as string,
    cpuModel: value("-cpu"),
    memoryMiB: Number(/^size=(\d+)M(,|$)/.exec(value("-m"))?.[1]),
    disk: backing.file.filename,
  };
}

export interface OwnFiles {
  readonly name: string;
  /** A qcow2 of its own, without a backing file. */
  readonly disk: string;
  readonly sockets: { readonly qmp: string; readonly agent: string; readonly helper: string };
}

/** The same devices in the same order, on files of one's own; memory is anonymous instead of a file of the pool's. */
export function argvOn({ argv, memoryMiB }: BootMachine, { name, disk, sockets }: OwnFiles): string[] {
  return argv.map((arg) => {
    if (arg.startsWith("guest=")) return `guest=${name}`;
    if (arg.includes('"memory-backend-file"')) {
      return JSON.stringify({ "qom-type": "memory-backend-ram", id: "ram0", size: memoryMiB * 1024 * 1024 });
    }
    const socket = /^socket,id=(qmp|agent|helper)0,/.exec(arg)?.[1] as keyof typeof sockets | undefined;
    if (socket !== undefined) return `socket,id=${socket}0,path=${sockets[socket]},server=on,wait=off`;
    if (!arg.includes('"node-name":"disk0"')) return arg;
    const file = { driver: "file", filename: disk };
    return JSON.stringify({ driver: "qcow2", "node-name": "disk0", discard: "unmap", file });
  });
}

/** Without what only a boot needs, as a clone is started. */
export function withoutKernel(argv: readonly string[]): string[] {
  const boot = ["-kernel", "-initrd", "-append"];
  return argv.filter((arg, i) => !boot.includes(arg) && !boot.includes(argv[i - 1] ?? ""));
}
