import { describe, expect, it } from "vitest";
import { isoImage } from "../../../../lib/substrate/recipes/disk/iso9660.ts";
import { seedImage } from "../../../../lib/substrate/recipes/disk/seed.ts";

const SECTOR = 2048;

/** Reads an ISO 9660 as Linux does: from the primary descriptor to the root folder, by its records. */
function filesOf(image: Buffer): Map<string, string> {
  const descriptor = image.subarray(16 * SECTOR);
  expect(descriptor.toString("latin1", 0, 7)).toBe("\x01CD001\x01");
  const root = descriptor.subarray(156);
  const folder = image.subarray(root.readUInt32LE(2) * SECTOR).subarray(0, root.readUInt32LE(10));
  const files = new Map<string, string>();
  for (let at = 0; at < folder.length && folder.readUInt8(at) > 0; at += folder.readUInt8(at)) {
    const record = folder.subarray(at, at + folder.readUInt8(at));
    expect(record.readUInt32LE(2)).toBe(record.readUInt32BE(6));
    expect(record.readUInt32LE(10)).toBe(record.readUInt32BE(14));
    if ((record.readUInt8(25) & 2) !== 0) continue;
    const name = record
      .toString("latin1", 33, 33 + record.readUInt8(32))
      .toLowerCase()
      .replace(/\.;1$/, "");
    const start = record.readUInt32LE(2) * SECTOR;
    files.set(name, image.toString("utf8", start, start + record.readUInt32LE(10)));
  }
  return files;
}

describe("the seed of a first boot", () => {
  it("is an ISO 9660 with the label that cloud-init looks for", () => {
    const image = seedImage();
    expect(image.length % SECTOR).toBe(0);
    expect(image.toString("latin1", 16 * SECTOR + 40, 16 * SECTOR + 72).trim()).toBe("CIDATA");
    expect(image.readUInt32LE(16 * SECTOR + 80) * SECTOR).toBe(image.length);
    expect(image.toString("latin1", 17 * SECTOR, 17 * SECTOR + 7)).toBe("\xffCD001\x01");
  });

  it("has the three files of a NoCloud source, without a password or an address", () => {
    const files = filesOf(seedImage());
    expect([...files.keys()].toSorted()).toEqual(["meta-data", "network-config", "user-data"]);
    expect(files.get("meta-data")).toMatch(/^instance-id: \S+$/m);
    expect(files.get("user-data")).toMatch(/^#cloud-config\n/);
    expect(files.get("user-data")).toContain("ssh_pwauth: false");
    expect(files.get("network-config")).toContain("config: disabled");
  });

  it("is the same every time", () => {
    expect(seedImage().equals(seedImage())).toBe(true);
  });
});

describe("an ISO 9660", () => {
  it("holds files of any length, also none and more than a sector", () => {
    const files = [
      { name: "empty", content: "" },
      { name: "sector", content: "s".repeat(SECTOR) },
      { name: "long", content: "ä".repeat(3000) },
      { name: "last", content: "end\n" },
    ];
    expect(filesOf(isoImage("ANY", files))).toEqual(new Map(files.map(({ name, content }) => [name, content])));
  });
});
