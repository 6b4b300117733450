import { describe, expect, it } from "vitest";
import { firmwareArguments, firmwareMachineOptions } from "../../lib/host/firmware.ts";

const chips = (argv: string[][]) => argv.map(([, json = ""]) => JSON.parse(json));

describe("the flash chips of a UEFI guest", () => {
  it("are not there for a guest that boots otherwise", () => {
    expect(firmwareArguments(undefined)).toEqual([]);
    expect(firmwareMachineOptions(undefined)).toEqual({});
  });

  it("have the firmware's code, which cannot be written, and variables of the guest's own", () => {
    const firmware = { code: { file: "/ovmf, code.fd" }, vars: { file: "/vars.fd" } };
    expect(firmwareMachineOptions(firmware)).toEqual({ pflash0: "firmware0", pflash1: "firmware1" });
    const code = { driver: "file", filename: "/ovmf, code.fd", "read-only": true };
    const vars = { driver: "file", filename: "/vars.fd", "read-only": false };
    expect(chips(firmwareArguments(firmware))).toEqual([
      { "node-name": "firmware0", "read-only": true, driver: "raw", file: code },
      { "node-name": "firmware1", driver: "raw", file: vars },
    ]);
  });

  it("are of the same size in a clone, and no file of anybody's", () => {
    const firmware = { code: { sizeBytes: 3_653_632 }, vars: { sizeBytes: 540_672 } };
    expect(chips(firmwareArguments(firmware))).toEqual([
      { "node-name": "firmware0", "read-only": true, driver: "null-co", size: 3_653_632, "read-zeroes": true },
      { "node-name": "firmware1", driver: "null-co", size: 540_672, "read-zeroes": true },
    ]);
  });
});
