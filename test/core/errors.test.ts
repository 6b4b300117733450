import { describe, expect, it } from "vitest";
import { ERROR_CODES, isVmSubstrateError, messageOf, VmSubstrateError } from "../../lib/core/index.ts";

describe("VmSubstrateError", () => {
  it("is an Error with a name, a code and a message", () => {
    const error = new VmSubstrateError("VM_GONE", "the VM was released");
    expect(error).toBeInstanceOf(Error);
    expect(String(error)).toBe("VmSubstrateError: the VM was released");
    expect(error.code).toBe("VM_GONE");
  });

  it("keeps its cause, even one that is undefined, and has none otherwise", () => {
    const cause = new Error("ENOENT");
    expect(new VmSubstrateError("QEMU_MISSING", "no QEMU", { cause }).cause).toBe(cause);
    expect("cause" in new VmSubstrateError("QEMU_MISSING", "no QEMU", { cause: undefined })).toBe(true);
    expect("cause" in new VmSubstrateError("QEMU_MISSING", "no QEMU")).toBe(false);
  });

  it("has details that are a frozen copy, empty unless given", () => {
    const details = { timeoutMs: 5 };
    const error = new VmSubstrateError("TIMEOUT", "late", { details });
    expect(error.details).toEqual({ timeoutMs: 5 });
    expect(error.details).not.toBe(details);
    expect(Object.isFrozen(error.details)).toBe(true);
    expect(new VmSubstrateError("TIMEOUT", "late").details).toEqual({});
  });
});

describe("ERROR_CODES", () => {
  it("has codes in capitals, each with a sentence", () => {
    for (const [code, meaning] of Object.entries(ERROR_CODES)) {
      expect(code).toMatch(/^[A-Z]+(?:_[A-Z]+)*$/);
      expect(meaning, code).toMatch(/^[A-Z].*\.$/);
    }
  });
});

describe("isVmSubstrateError", () => {
  it("is true for an error of ours, and of the code when one is given", () => {
    const error = new VmSubstrateError("TIMEOUT", "late");
    expect(isVmSubstrateError(error)).toBe(true);
    expect(isVmSubstrateError(error, "TIMEOUT")).toBe(true);
    expect(isVmSubstrateError(error, "ABORTED")).toBe(false);
  });

  it("is false for anything else", () => {
    for (const other of [new Error("TIMEOUT"), { code: "TIMEOUT" }, "TIMEOUT", null, undefined]) {
      expect(isVmSubstrateError(other)).toBe(false);
    }
  });
});

describe("messageOf", () => {
  it("gives the message of an error, and any other value as text", () => {
    expect(messageOf(new Error("broken"))).toBe("broken");
    expect(messageOf("broken")).toBe("broken");
    expect(messageOf(undefined)).toBe("undefined");
  });
});
