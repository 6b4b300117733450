import { describe, expect, it } from "vitest";
import { MIB } from "../../lib/core/index.ts";
import { growDiskOperation, grownDisk } from "../../lib/substrate/index.ts";

const WHOLE = { kind: "disk", device: "vda", mountPoint: "/", maxDiskMiB: 4096 } as const;
const PARTITION = { ...WHOLE, kind: "partition", device: "vda2" } as const;
const DISK = 1024 * MIB;
const END = DISK - 33 * 512;

describe("a root file system on the whole disk", () => {
  it("is grown by one operation, and answers with the disk's size", () => {
    expect(growDiskOperation(WHOLE, DISK)).toEqual({ name: "disk", value: `vda,/,${DISK}` });
    expect(grownDisk(WHOLE, DISK, `vda,${DISK},1000`)).toEqual({ bytes: DISK, usableBytes: 1000 });
  });

  it.each([
    "",
    "vda",
    `vda,${DISK}`,
    `vdb,${DISK},1000`,
    `vda,${DISK - 1},1000`,
    `vda,${DISK + 1},1000`,
    `vda,${DISK},${DISK + 1}`,
    `vda,${DISK},1000,1`,
    `vda,${DISK},-1`,
    `vda,${DISK},1e3`,
    `vda,${DISK},${"9".repeat(16)}`,
  ])("is not by %j", (answer) => {
    expect(grownDisk(WHOLE, DISK, answer)).toBeUndefined();
  });
});

describe("a root file system on a partition", () => {
  it("goes to the disk's end, but for the table's copy", () => {
    expect(growDiskOperation(PARTITION, DISK)).toEqual({ name: "partition", value: `vda2,/,${DISK}` });
    const bytes = END - 64 * MIB;
    expect(grownDisk(PARTITION, DISK, `vda2,${64 * MIB},${bytes},1000`)).toEqual({ bytes, usableBytes: 1000 });
    expect(grownDisk(PARTITION, DISK, `vda2,${64 * MIB},${DISK - 64 * MIB},1000`)).toBeDefined();
  });

  it.each([
    `vda2,${DISK},1000`,
    `vda2,${64 * MIB},${END - 66 * MIB},1000`,
    `vda2,${64 * MIB},${DISK},1000`,
    `vda,${64 * MIB},${END - 64 * MIB},1000`,
  ])("does not by %j", (answer) => {
    expect(grownDisk(PARTITION, DISK, answer)).toBeUndefined();
  });
});
