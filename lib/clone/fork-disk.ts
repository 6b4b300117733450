import { link, mkdir, rm } from "node:fs/promises";
import { VmSubstrateError } from "../core/index.ts";
import { createOverlay, DISK_DEVICE_ID, DISK_NODE, type Monitor, type Paths } from "../host/index.ts";

/** Of a disk's node in QEMU, by the instant at which it was put on top. */
const NODE_PREFIX = "fork-";
const DETACH_TIMEOUT_MS = 5000;

/** A VM's disk, prepared to be parted in two at an instant: what was written before is everybody's, what comes after is its own. */
export class DiskSplit implements AsyncDisposable {
  readonly #qmp: Pick<Monitor, "execute">;
  readonly #below: string;
  readonly #node: string;
  readonly #overlay: string;
  #isDone = false;

  private constructor(qmp: Pick<Monitor, "execute">, below: string, node: string, overlay: string) {
    this.#qmp = qmp;
    this.#below = below;
    this.#node = node;
    this.#overlay = overlay;
  }

  /**
   * Opens an empty overlay beside the disk that the VM writes to, and gives that disk a second name among the instants. The VM
   * keeps the first one: nothing that happens to the instant concerns it.
   *
   * @throws VmSubstrateError QMP_*, FORK_FAILED; an I/O error when the names are on two file systems
   */
  static async prepare(
    qmp: Pick<Monitor, "execute">,
    paths: Paths,
    { id, instant, sizeBytes }: { readonly id: string; readonly instant: string; readonly sizeBytes: number },
    signal: AbortSignal,
  ): Promise<DiskSplit> {
    const below = await topNode(qmp, signal);
    const current = overlayOf(paths, id, below);
    const files = paths.instant(instant);
    await mkdir(files.dir, { recursive: true, mode: 0o700 });
    await link(current, files.disk);
    const node = `${NODE_PREFIX}${instant}`;
    const overlay = paths.vmOverlay(id, instant);
    await createOverlay(overlay, files.disk, sizeBytes);
    const split = new DiskSplit(qmp, below, node, overlay);
    try {
      // As the VM's first overlay is opened; what is below it is there already.
      const image = { driver: "qcow2", "node-name": node, discard: "unmap", backing: null };
      await qmp.execute("blockdev-add", { ...image, file: { driver: "file", filename: overlay } }, { signal });
      return split;
    } catch (error) {
      await split[Symbol.asyncDispose]();
      throw error;
    }
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  /** While the guest stands still: from here on it writes to the overlay. Source: QEMU QMP reference, blockdev-snapshot. */
  async split(signal: AbortSignal): Promise<void> {
    this.#isDone = true; // also when no answer comes any more: then it is not known, and the overlay has to stay
    await this.#qmp.execute("blockdev-snapshot", { node: this.#below, overlay: this.#node }, { signal });
  }

  /** Takes the overlay away if the VM does not write to it. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDone) return;
    await this.#qmp
      .execute("blockdev-del", { "node-name": this.#node }, { timeoutMs: DETACH_TIMEOUT_MS })
      .catch(() => {});
    await rm(this.#overlay, { force: true });
  }
}

/** The file of one of our nodes. */
export function overlayOf(paths: Paths, id: string, node: string): string {
  return node === DISK_NODE ? paths.vm(id).overlay : paths.vmOverlay(id, node.slice(NODE_PREFIX.length));
}

export function isOurNode(node: string): boolean {
  return node === DISK_NODE || node.startsWith(NODE_PREFIX);
}

/** The node that the guest writes to: the disk of its launch, or the overlay of its last fork. */
export async function topNode(qmp: Pick<Monitor, "execute">, signal: AbortSignal): Promise<string> {
  const disks = await qmp.execute("query-block", {}, { signal });
  const disk = disks.find(({ qdev }) => qdev?.split("/").includes(DISK_DEVICE_ID));
  const node = disk?.inserted?.["node-name"];
  if (node !== undefined && isOurNode(node)) return node;
  throw new VmSubstrateError("FORK_FAILED", `the VM's disk is "${node}" in QEMU, which is none of ours`);
}
