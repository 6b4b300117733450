import { describe, expect, it } from "vitest";
import { planGrowth, type ResourcesRequest } from "../../lib/clone/index.ts";
import { MIB } from "../../lib/core/index.ts";
import type { Manifest } from "../../lib/substrate/index.ts";

const GROWTH: NonNullable<Manifest["guest"]["growth"]> = {
  maxCpus: 8,
  maxMemoryMiB: 96 + 48 * 128,
  disk: { kind: "disk", mountPoint: "/", device: "vda", maxDiskMiB: 4096 },
};

/** As much of a manifest as is looked at. */
function manifest(growth: Manifest["guest"]["growth"] = GROWTH): Manifest {
  const content = { name: "mini", diskSizeBytes: 256 * MIB, guest: { cpus: 1, memoryMiB: 96, growth } };
  return content as Manifest;
}

function plan(asked: ResourcesRequest) {
  return planGrowth(asked, manifest());
}

describe("a plan for a clone's resources", () => {
  it("is none where it has them already", () => {
    expect(plan({})).toBeUndefined();
    expect(plan({ cpus: 1, memoryMiB: 96, diskMiB: 256 })).toBeUndefined();
  });

  it("leaves alone what was not asked for", () => {
    const memoryMiB = 96;
    expect(plan({ cpus: 4 })).toEqual({
      resources: { cpus: 4, memoryMiB, diskMiB: 256 },
      addedCpus: 3,
      lastingMiB: [],
      removableMiB: [],
      diskBytes: undefined,
    });
    expect(plan({ diskMiB: 1024 })).toMatchObject({
      addedCpus: 0,
      lastingMiB: [],
      removableMiB: [],
      diskBytes: 1024 * MIB,
    });
  });

  it.each([
    [97, 224, [], [128]],
    [192, 224, [], [128]],
    [225, 352, [], [128, 128]],
    // The kernel's own needs are met by a quarter of all, 96 MiB of which it has.
    [480, 480, [128], [128, 128]],
    [1120, 1120, [256], [384, 384]],
    [2048, 2144, [512], [768, 768]],
    // A page in 64 is for the description of the others: the kernel must have those before it has the module.
    [96 + 48 * 128, 96 + 48 * 128, [512, 1024], [2304, 2304]],
  ])("adds whole blocks of memory: %i MiB is %i", (asked, memoryMiB, lastingMiB, removableMiB) => {
    expect(plan({ memoryMiB: asked })).toMatchObject({ resources: { memoryMiB }, lastingMiB, removableMiB });
  });

  it.each<[ResourcesRequest, RegExp, object]>([
    [{ cpus: 9 }, /resources\.cpus: 9 .* up to 8/, { resource: "cpus", asked: 9, minimum: 1, maximum: 8 }],
    [{ memoryMiB: 6241 }, /resources\.memoryMiB: 6241 .* up to 6240/, { maximum: 6240 }],
    [{ memoryMiB: 64 }, /has 96 .* cannot be smaller/, { minimum: 96 }],
    [{ cpus: 4, diskMiB: 4097 }, /resources\.diskMiB: 4097 .* up to 4096/, { resource: "diskMiB" }],
    [{ diskMiB: 128 }, /has 256 .* cannot be smaller/, {}],
  ])("is refused beyond the substrate's reach: %j", (asked, message, details) => {
    expect(() => plan(asked)).toThrow(
      expect.objectContaining({
        code: "RESOURCES_OUT_OF_REACH",
        message: expect.stringMatching(message),
        details: expect.objectContaining(details),
      }),
    );
  });

  it("is refused when rounding up goes beyond it", () => {
    const uneven = manifest({ ...GROWTH, maxMemoryMiB: 300 });
    expect(planGrowth({ memoryMiB: 200 }, uneven)?.resources.memoryMiB).toBe(224);
    expect(() => planGrowth({ memoryMiB: 290 }, uneven)).toThrow(/352 was asked for; .* up to 300/);
  });

  it("is refused of a substrate that was built to stay as it is", () => {
    const fixed = { ...manifest(), guest: { ...manifest().guest, growth: undefined } };
    for (const asked of [{ cpus: 2 }, { memoryMiB: 128 }, { diskMiB: 512 }]) {
      expect(() => planGrowth(asked, fixed)).toThrow(/has \d+ and cannot grow/);
    }
    expect(planGrowth({ cpus: 1 }, fixed)).toBeUndefined();
  });
});
