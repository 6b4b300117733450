import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { requireCompatible } from "../../lib/substrate/compatibility.ts";
import type { Manifest } from "../../lib/substrate/index.ts";
import { FORMAT_VERSION, parseManifest, serializeManifest } from "../../lib/substrate/manifest.ts";
import { FakeHost } from "../support/fake-host.ts";
import { FAKE_QEMU } from "../support/fake-qemu-control.ts";
import { addFakeSubstrate } from "../support/fake-substrate.ts";

let host: FakeHost;
let manifest: Manifest;
beforeEach(async () => {
  host = await FakeHost.create();
  manifest = await addFakeSubstrate(host.paths);
});
afterEach(() => host[Symbol.asyncDispose]());

type Tree = Record<string, unknown>;

/** Every object in a manifest, with its path. */
function objects(tree: Tree, path: readonly string[] = []): { path: readonly string[]; keys: string[] }[] {
  const inner = Object.entries(tree).flatMap(([key, value]) =>
    typeof value === "object" && value !== null && !Array.isArray(value) ? objects(value as Tree, [...path, key]) : [],
  );
  return [{ path, keys: Object.keys(tree) }, ...inner];
}

function changed(path: readonly string[], change: (tree: Tree) => void): string {
  const copy: Tree = structuredClone(manifest);
  change(path.reduce((tree, key) => tree[key] as Tree, copy));
  return JSON.stringify(copy);
}

/** Parts of an identity that a guest need not have, and how far it can grow. */
const OPTIONAL = [
  "hostname",
  "hosts",
  "machineId",
  "dbusMachineId",
  "sshHostKey",
  "authorizedKeys",
  "randomSeed",
  "dhclientLeases",
]
  .map((key) => `guest.identity.${key}`)
  .concat("guest.growth", "guest.growth.disk");

const corrupt = expect.objectContaining({ code: "SUBSTRATE_CORRUPT", details: { where: "the file" } });

describe("parseManifest", () => {
  it("reads what serializeManifest writes", () => {
    const { formatVersion, ...content } = manifest;
    expect(formatVersion).toBe(FORMAT_VERSION);
    expect(parseManifest(serializeManifest(content), "the file")).toEqual(manifest);
  });

  it("refuses each field that is missing", () => {
    for (const { path, keys } of objects(manifest)) {
      for (const key of keys) {
        const text = changed(path, (tree) => delete tree[key]);
        if (OPTIONAL.includes([...path, key].join("."))) continue;
        expect(() => parseManifest(text, "the file"), [...path, key].join(".")).toThrow(corrupt);
      }
    }
  });

  it("refuses each field that it does not know", () => {
    for (const { path } of objects(manifest)) {
      const text = changed(path, (tree) => {
        tree.novel = 1;
      });
      expect(() => parseManifest(text, "the file"), path.join(".")).toThrow(corrupt);
    }
  });

  it("refuses each field of another type", () => {
    for (const { path, keys } of objects(manifest)) {
      for (const key of keys) {
        const text = changed(path, (tree) => {
          tree[key] = null;
        });
        expect(() => parseManifest(text, "the file"), [...path, key].join(".")).toThrow(corrupt);
      }
    }
  });

  it.each<[string, readonly string[], string, unknown]>([
    ["the format before", [], "formatVersion", 1],
    ["a later format", [], "formatVersion", FORMAT_VERSION + 1],
    ["a name that is a path", [], "name", "../x"],
    ["version 0", [], "version", 0],
    ["a date that is none", [], "createdAt", "yesterday"],
    ["an unknown accelerator", [], "accelerator", "hvf"],
    ["a digest that is none", ["files", "ram"], "sha256", "abc"],
    ["a negative size", ["files", "ram"], "sizeBytes", -1],
    ["no memory", ["guest"], "memoryMiB", 0],
    ["a disk that would break the helper's line", ["guest", "growth", "disk"], "device", "vda,/"],
    ["a disk that grows in another way", ["guest", "growth", "disk"], "kind", "lvm"],
    ["a mount point that would break the helper's line", ["guest", "growth", "disk"], "mountPoint", "/a,b"],
    ["an interface that would break the helper's line", ["guest"], "interface", "eth0,x y"],
    ["a relative key file", ["guest", "identity", "sshHostKey"], "path", "etc/key"],
    ["another format of keys", ["guest", "identity", "sshHostKey"], "format", "pem"],
    ["a path that would break the helper's line", ["guest", "identity"], "hosts", "/etc/hosts,777"],
    ["a path that leads elsewhere", ["guest", "identity"], "hosts", "/etc/../root/hosts"],
  ])("refuses %s", (_, path, key, value) => {
    const text = changed(path, (tree) => {
      tree[key] = value;
    });
    expect(() => parseManifest(text, "the file")).toThrow(corrupt);
  });

  it.each([
    ["ext4", "disk"],
    ["ext4-partition", "partition"],
  ])("takes a disk that grows from when it said its file system: %s", (before, kind) => {
    const text = changed(["guest", "growth", "disk"], (disk) => {
      disk.kind = before;
    });
    const { growth } = manifest.guest;
    expect(parseManifest(text, "the file").guest.growth).toEqual({ ...growth, disk: { ...growth?.disk, kind } });
  });

  it("takes a guest without any of the parts of an identity that can be missing", () => {
    const text = changed(["guest"], (tree) => {
      tree.identity = { ipv6: false, vmGenerationId: false };
    });
    expect(parseManifest(text, "the file").guest.identity).toEqual({ ipv6: false, vmGenerationId: false });
  });

  it("refuses memory sizes below zero", () => {
    const text = changed(["memory"], (tree) => {
      tree.residentBytes = -(2 ** 40);
    });
    expect(() => parseManifest(text, "the file")).toThrow(corrupt);
  });

  it.each(["", "{", "null", "[]", '"x"', "\0"])("refuses %j", (text) => {
    expect(() => parseManifest(text, "the file")).toThrow(corrupt);
  });
});

describe("requireCompatible", () => {
  const qemu = { path: "/qemu", ...FAKE_QEMU };

  it("takes a substrate of this machine", async () => {
    await requireCompatible(manifest, qemu, host.paths);
  });

  it.each<[string, Partial<Manifest>]>([
    ["qemu.build", { qemu: { version: "7.2.22", build: "7.2.22 (Debian 1:7.2+other)" } }],
    ["machine", { machine: "pc-i440fx-8.0" }],
    ["cpuModel", { cpuModel: "max" }],
    ["devices", { devices: ["{}"] }],
  ])("names %s as what differs", async (field, difference) => {
    const other = { ...manifest, ...difference };
    await expect(requireCompatible(other, qemu, host.paths)).rejects.toMatchObject({
      code: "SUBSTRATE_INCOMPATIBLE",
      details: { field },
      message: expect.stringContaining("build it again"),
    });
  });
});
