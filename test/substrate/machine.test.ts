import { describe, expect, it } from "vitest";
import { bogoMips } from "../../lib/host/index.ts";
import { guestFor } from "../../lib/substrate/machine.ts";
import { FAKE_GUEST } from "../support/fake-substrate.ts";

const { growth, ...FIXED } = FAKE_GUEST;
if (growth === undefined) throw new Error("the fake guest cannot grow");

function options(guest: typeof FAKE_GUEST, accelerator: "tcg" | "kvm"): string[] {
  return guestFor(guest, accelerator).kernelCommandLine.split(" ");
}

describe("the kernel of a guest that can grow", () => {
  it("switches memory on by itself, and is ready for further processors; others are as they were", () => {
    const added = ["memhp_default_state=online", "noreplace-smp"];
    expect(options(FAKE_GUEST, "kvm")).toEqual([...options(FIXED, "kvm"), ...added]);
    expect(options(FIXED, "kvm")).toEqual(["console=ttyS0"]);
    expect(options(FIXED, "tcg")).toEqual(["console=ttyS0", "mitigations=off"]);
  });

  it("is told how fast processors are, where they are as fast as this machine's and its ticks are known", () => {
    const timed = { ...FAKE_GUEST, growth: { ...growth, timerHz: 250 } };
    const known = bogoMips() ?? Number.NaN;
    expect(options(timed, "tcg")).toContain(`lpj=${Math.round(known * 2000)}`);
    for (const other of [options(timed, "kvm"), options(FAKE_GUEST, "tcg")]) {
      expect(other.join(" ")).not.toContain("lpj=");
    }
  });
});
