import type { QemuInstance } from "../host/index.ts";
import type { GuestLink } from "./guest-link.ts";

/** A clone's QEMU and the ways to its guest, whatever state it is in. Disposing ends it and removes its folders. */
export class Clone implements AsyncDisposable {
  readonly instance: QemuInstance;
  readonly guest: GuestLink;
  readonly #owned: AsyncDisposable;
  #ended: Promise<void> | undefined;

  /** It was forked from one that has run all that a claim runs. */
  readonly isWarm: boolean;

  /** @param owned what ends all of it; `instance` and `guest` are part of that */
  constructor(instance: QemuInstance, guest: GuestLink, owned: AsyncDisposable, isWarm = false) {
    this.instance = instance;
    this.guest = guest;
    this.isWarm = isWarm;
    this.#owned = owned;
  }

  /** Closes what connects us and leaves the clone as it is, to whoever owns the state directory next. */
  async detach(): Promise<void> {
    await this.guest[Symbol.asyncDispose]();
    await this.instance.detach();
  }

  /** Whoever else is ending it: resolves when nothing is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= (async () => this.#owned[Symbol.asyncDispose]())();
    await this.#ended;
  }
}
