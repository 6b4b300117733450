/** All that decides one QEMU process. Substrates and clones differ in few of these; `qemuArgv` turns it into argv. */
export interface VmConfig {
  /** Appears in `-name`; with `uuid` it marks the process as ours. */
  readonly id: string;
  readonly uuid: string;
  /** A versioned machine type, e.g. "pc-i440fx-7.2": an alias would change under a substrate with QEMU's version. */
  readonly machine: string;
  readonly accelerator: Accelerator;
  readonly cpuModel: string;
  readonly cpus: number;
  /** How far processors and memory can be plugged in while it runs; a clone's must be its substrate's. */
  readonly growth?: MachineGrowth;
  readonly memory: {
    readonly file: string;
    readonly sizeMiB: number;
    /** true: the substrate's own RAM file (MAP_SHARED). false: a clone's copy-on-write view of it (MAP_PRIVATE). */
    readonly share: boolean;
  };
  readonly disk: {
    readonly file: string;
    /** The read-only qcow2 below `file`, where `file` is an overlay. */
    readonly backingFile?: string;
  };
  /** Direct kernel boot; left away for clones, which never boot (saves their start time and about 15 MiB). */
  readonly kernel?: { readonly image: string; readonly initrd: string; readonly commandLine: string };
  /** Flash chips with a UEFI firmware and its variables, for a guest that boots from its disk. Without them, SeaBIOS. */
  readonly firmware?: { readonly code: Flash; readonly vars: Flash };
  /** An image that is attached as a second disk, read-only. */
  readonly seed?: string;
  readonly sockets: { readonly qmp: string; readonly agent: string; readonly helper: string };
  /** For guests with CONFIG_VMGENID: a UUID that no other VM has. */
  readonly generationId?: string;
  /** Start paused, waiting for `migrate-incoming`. */
  readonly incoming?: boolean;
}

/** A flash chip: the file that backs it, or its size alone where its content comes with a state that is loaded. */
export type Flash = { readonly file: string } | { readonly sizeBytes: number };

export interface MachineGrowth {
  readonly maxCpus: number;
  readonly maxMemoryMiB: number;
}

export const ACCELERATORS = ["tcg", "kvm"] as const;
export type Accelerator = (typeof ACCELERATORS)[number];
