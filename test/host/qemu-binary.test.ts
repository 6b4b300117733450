import { describe, expect, it } from "vitest";
import { identifyQemu } from "../../lib/host/index.ts";
import { FakeQemu } from "../support/fake-qemu-control.ts";

describe("identifyQemu", () => {
  it.each([
    ["QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", "7.2.22", "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"],
    ["QEMU emulator version 7.2.0", "7.2.0", "7.2.0"],
    ["QEMU emulator version 10.0.2 (Fedora)", "10.0.2", "10.0.2 (Fedora)"],
    ["QEMU emulator version 8.2", "8.2", "8.2"],
  ])("reads %s", async (line, version, build) => {
    await using qemu = await FakeQemu.create(line);
    expect(await identifyQemu(qemu.path)).toEqual({ path: qemu.path, version, build });
  });

  it.each([
    ["QEMU emulator version 7.1.99", /7\.1\.99.*too old/],
    ["QEMU emulator version 6.9", /too old/],
    ["qemu-img version 7.2.22", /does not answer like QEMU/],
  ])("refuses %s", async (line, message) => {
    await using qemu = await FakeQemu.create(line);
    const error = { code: "QEMU_UNSUPPORTED", message: expect.stringMatching(message) };
    await expect(identifyQemu(qemu.path)).rejects.toMatchObject(error);
  });

  it("says which executable is missing or does not run", async () => {
    const missing = { code: "QEMU_MISSING", details: { path: "/nonexistent/qemu" } };
    await expect(identifyQemu("/nonexistent/qemu")).rejects.toMatchObject(missing);
    await expect(identifyQemu("/bin/false")).rejects.toMatchObject({ code: "QEMU_MISSING" });
    await expect(identifyQemu("/etc/hostname")).rejects.toMatchObject({ code: "QEMU_MISSING" });
  });
});
