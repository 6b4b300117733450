import { type Paths, requireDescriptors, requireSharedMemory } from "../host/index.ts";
import type { Memory } from "./memory.ts";

/** Admits clones by what each takes of this process and of the machine: open files and memory, and the pages of its substrate's. */
export class Room {
  readonly #memory: Memory;
  readonly #paths: Pick<Paths, "sharedMemoryRoot">;
  /** Clones that were admitted and may not have opened their files yet. */
  #underWay = 0;

  constructor(memory: Memory, paths: Pick<Paths, "sharedMemoryRoot">) {
    this.#memory = memory;
    this.#paths = paths;
  }

  /**
   * Room for `count` further clones. It is theirs until the result is disposed: by then each is there, or was not made.
   * @param addedBytes as of `Memory.reserve`
   * @throws VmSubstrateError INSUFFICIENT_DESCRIPTORS, INSUFFICIENT_MEMORY, INSUFFICIENT_SHARED_MEMORY
   */
  async reserve(count: number, purpose: string, addedBytes = 0): Promise<Disposable> {
    using undo = new DisposableStack();
    this.#underWay += count; // before the first await: those who ask at the same time must not count the same files
    undo.defer(() => {
      this.#underWay -= count;
    });
    await requireDescriptors(this.#underWay, purpose);
    // A clone that reads a page which nobody read before takes it there, and ends by SIGBUS where there is none.
    await requireSharedMemory(this.#paths.sharedMemoryRoot, 0, purpose);
    undo.use(await this.#memory.reserve(count, purpose, addedBytes));
    return undo.move();
  }
}
