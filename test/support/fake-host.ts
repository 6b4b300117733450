import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Directories, Paths } from "../../lib/host/index.ts";
import { Pool, type PoolOptions } from "../../lib/pool/index.ts";
import { FakeQemu } from "./fake-qemu-control.ts";
import { addFakeSubstrate } from "./fake-substrate.ts";

const SHM = "/dev/shm";

/** Directories of its own and a fake QEMU: all that a pool needs. */
export class FakeHost implements AsyncDisposable {
  readonly directories: Required<{ [Name in keyof Directories]: string }>;
  readonly paths: Paths;
  readonly qemu: FakeQemu;
  readonly #owned: AsyncDisposableStack;

  private constructor(dir: string, sharedMemoryDir: string, qemu: FakeQemu, owned: AsyncDisposableStack) {
    const below = (name: string) => join(dir, name);
    this.directories = {
      stateDir: below("state"),
      cacheDir: below("cache"),
      runtimeDir: below("run"),
      sharedMemoryDir,
    };
    this.paths = new Paths(this.directories);
    this.qemu = qemu;
    this.#owned = owned;
  }

  static async create(): Promise<FakeHost> {
    await using undo = new AsyncDisposableStack();
    const newDir = async (parent: string) => {
      const dir = await mkdtemp(join(parent, "fh-"));
      undo.defer(() => rm(dir, { recursive: true, force: true }));
      return dir;
    };
    const dir = await newDir(tmpdir());
    const sharedMemoryDir = await newDir(existsSync(SHM) ? SHM : tmpdir());
    const qemu = undo.use(await FakeQemu.create());
    return new FakeHost(dir, sharedMemoryDir, qemu, undo.move());
  }

  /** For `Pool.open`. */
  options(more: PoolOptions = {}): PoolOptions {
    return { ...this.directories, qemu: this.qemu.path, accelerator: "tcg", addressQuarantineMs: 0, ...more };
  }

  open(more: PoolOptions = {}): Promise<Pool> {
    return Pool.open(this.options(more));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync();
  }
}

export interface FakePool extends AsyncDisposable {
  readonly host: FakeHost;
  readonly pool: Pool;
  readonly qemu: FakeQemu;
}

/** An open pool with one substrate, "fake". */
export async function openFakePool(more: PoolOptions = {}): Promise<FakePool> {
  await using undo = new AsyncDisposableStack();
  const host = undo.use(await FakeHost.create());
  const pool = undo.use(await host.open(more));
  await addFakeSubstrate(host.paths);
  const owned = undo.move();
  return { host, pool, qemu: host.qemu, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
