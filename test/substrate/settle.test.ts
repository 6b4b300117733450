import { describe, expect, it } from "vitest";
import { VmSubstrateError } from "../../lib/core/index.ts";
import type { HelperChannel, HelperOperation } from "../../lib/netcfg/index.ts";
import { settle } from "../../lib/substrate/settle.ts";

class Helper implements HelperChannel {
  readonly asked: HelperOperation[] = [];
  readonly #error: Error | undefined;

  constructor(error?: Error) {
    this.#error = error;
  }

  async request(operations: readonly HelperOperation[]): Promise<string[]> {
    this.asked.push(...operations);
    if (this.#error !== undefined) throw this.#error;
    return operations.map(({ value }) => value);
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

describe("a guest that is about to be frozen", () => {
  it("polls, where its helper is resident", async () => {
    const helper = new Helper();
    await settle({ helper }, { helper: true }, undefined);
    expect(helper.asked).toEqual([{ name: "poll", value: "20000" }]);
  });

  it("does not, where its helper is carried in", async () => {
    const helper = new Helper();
    await settle({ helper }, { helper: false }, undefined);
    expect(helper.asked).toEqual([]);
  });

  it("may have a helper of before, which cannot poll", async () => {
    const refusal = new VmSubstrateError("GUEST_HELPER_FAILED", 'the guest\'s helper could not do "poll" (ENOSYS)');
    await settle({ helper: new Helper(refusal) }, { helper: true }, undefined);
  });

  it("is not frozen when it does not answer, or nobody wants it any more", async () => {
    const silence = new VmSubstrateError("TIMEOUT", "no answer");
    await expect(settle({ helper: new Helper(silence) }, { helper: true }, undefined)).rejects.toBe(silence);
    const helper = new Helper();
    await expect(settle({ helper }, { helper: true }, AbortSignal.abort())).rejects.toThrow();
    expect(helper.asked).toEqual([]);
  });
});
