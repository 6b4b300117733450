import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import type { FakeStep } from "./fake-qemu-script.ts";
import { type FakeArguments, FakeCommandError, type FakeCommands } from "./fake-qmp-server.ts";

const QCOW2_MAGIC = 0x514649fb;
const LENGTH = 8 * 1024 * 1024;
const FIRST_DISK = "disk0";

interface Image {
  readonly filename: string;
}

interface Node {
  readonly name: string;
  readonly file: string;
  below: Node | undefined;
}

export interface FakeDisk {
  readonly file: Image;
  readonly backing?: { readonly file: Image };
}

/** The disk of a fake VM as its monitor shows it: images on images, and the job that copies from the lower ones into the upper one. */
export class FakeBlockNodes {
  readonly #reach: (step: FakeStep, args?: FakeArguments) => Promise<void>;
  /** Those that have a name of ours; what is below them is reached through them. */
  readonly #named = new Map<string, Node>();
  /** Of the disk as it was when its VM started. */
  readonly sizeBytes: number;
  #top: Node;
  #job: { readonly id: string } | undefined;
  #unnamed = 0;

  /** @throws an error when a file of the chain is missing, or is no image */
  constructor(disk: FakeDisk, reach: (step: FakeStep, args?: FakeArguments) => Promise<void>) {
    this.#reach = reach;
    const { filename } = disk.file;
    const header = readHeader(filename);
    this.sizeBytes = header.sizeBytes;
    const below = disk.backing?.file.filename ?? header.backingFile;
    this.#top = { name: FIRST_DISK, file: filename, below: below === undefined ? undefined : this.#open(below) };
    this.#named.set(FIRST_DISK, this.#top);
  }

  get commands(): FakeCommands {
    return {
      "query-block": () => [
        { device: "", qdev: "/machine/peripheral/blk0/virtio-backend", inserted: { "node-name": this.#top.name } },
      ],
      "query-named-block-nodes": () => this.#all().flatMap((node) => [shown(node), protocolOf(node)]),
      "query-block-jobs": () =>
        this.#job === undefined
          ? []
          : [{ device: this.#job.id, type: "stream", status: "running", offset: 0, len: LENGTH }],
      "blockdev-add": (args) => {
        const { filename } = args.file as Image;
        readHeader(filename);
        const name = String(args["node-name"]);
        this.#named.set(name, { name, file: filename, below: undefined });
        return {};
      },
      "blockdev-del": (args) => this.#delete(String(args["node-name"])),
      "blockdev-snapshot": async (args) => {
        await this.#reach("split");
        if (this.#job !== undefined) throw new FakeCommandError("block device is in use by block job: stream");
        const overlay = this.#named.get(String(args.overlay));
        if (overlay === undefined || this.#top.name !== args.node) throw new FakeCommandError("no such node");
        overlay.below = this.#top;
        this.#top = overlay;
        return {};
      },
      "blockdev-snapshot-sync": async (args) => {
        await this.#reach("layer", args);
        if (args["node-name"] !== this.#top.name) throw new FakeCommandError("no such node");
        const file = String(args["snapshot-file"]);
        const name = String(args["snapshot-node-name"]);
        // Only here, because every fake VM would take longer to start with it.
        const { createOverlay } = await import("../../lib/host/qcow2.ts");
        await createOverlay(file, this.#top.file, this.sizeBytes);
        this.#top = { name, file, below: this.#top };
        this.#named.set(name, this.#top);
        return {};
      },
      "block-stream": async (args) => {
        await this.#reach("flatten", args);
        const base = this.#all().find(({ name }) => name === args["base-node"]);
        if (base === undefined || args.device !== this.#top.name) throw new FakeCommandError("no such node");
        const job = { id: String(args["job-id"]) };
        this.#job = job;
        setImmediate(() => void this.#copy(job, base, String(args["backing-file"])));
        return {};
      },
      "block-job-cancel": (args) => {
        if (this.#job?.id !== args.device) throw new FakeCommandError(`Block job '${String(args.device)}' not found`);
        this.#job = undefined;
        return {};
      },
    };
  }

  async #copy(job: { readonly id: string }, base: Node, backingFile: string): Promise<void> {
    const isDone = await this.#reach("flattened").then(
      () => true,
      () => false,
    );
    if (this.#job !== job) return; // cancelled meanwhile
    this.#job = undefined;
    if (!isDone) return;
    this.#top.below = base;
    writeBackingFile(this.#top.file, backingFile);
  }

  #delete(name: string): Record<string, never> {
    const node = this.#named.get(name);
    if (node === undefined) throw new FakeCommandError(`Failed to find node with node-name='${name}'`);
    if (node === this.#top || this.#all().some(({ below }) => below === node))
      throw new FakeCommandError(`Node '${name}' is busy`);
    this.#named.delete(name);
    return {};
  }

  /** As QEMU opens what a header names. */
  #open(file: string): Node {
    const { backingFile } = readHeader(file);
    const below = backingFile === undefined ? undefined : this.#open(backingFile);
    return { name: `#block${this.#unnamed++}`, file, below };
  }

  #all(): Node[] {
    const nodes = new Set<Node>();
    for (const named of this.#named.values()) {
      for (let node: Node | undefined = named; node !== undefined; node = node.below) nodes.add(node);
    }
    return [...nodes];
  }
}

/** QEMU describes an image by its path alone only where that leads to the same chain. */
function pathOf({ file, below }: Node): string {
  const isAsNamed =
    below === undefined || (readHeader(file).backingFile === below.file && pathOf(below) === below.file);
  return isAsNamed ? file : `json:${JSON.stringify({ driver: "qcow2", file: { driver: "file", filename: file } })}`;
}

function shown(node: Node) {
  const { name, below } = node;
  const backing = below === undefined ? {} : { backing_file: pathOf(below) };
  const image = { "virtual-size": LENGTH, "actual-size": 4096 };
  return { "node-name": name, drv: "qcow2", file: pathOf(node), ro: false, image, ...backing };
}

function protocolOf({ name, file }: Node) {
  return { "node-name": `#file-of-${name}`, drv: "file", file, ro: false, image: { "virtual-size": LENGTH } };
}

interface Header {
  /** Where the backing file's name is. */
  readonly offset: number;
  readonly backingFile: string | undefined;
  /** Of the disk. */
  readonly sizeBytes: number;
}

function readHeader(file: string): Header {
  const bytes = readFileSync(file);
  if (bytes.readUInt32BE(0) !== QCOW2_MAGIC) throw new Error(`${file}: not a qcow2 image`);
  const offset = Number(bytes.readBigUInt64BE(8));
  const length = bytes.readUInt32BE(16);
  const backingFile = length === 0 ? undefined : bytes.subarray(offset, offset + length).toString();
  return { offset, backingFile, sizeBytes: Number(bytes.readBigUInt64BE(24)) };
}

function writeBackingFile(image: string, backingFile: string): void {
  const { offset } = readHeader(image);
  const name = Buffer.from(backingFile);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(name.length);
  const file = openSync(image, "r+");
  writeSync(file, name, 0, name.length, offset);
  writeSync(file, length, 0, length.length, 16);
  closeSync(file);
}
