import { access } from "node:fs/promises";
import { VmSubstrateError } from "../core/index.ts";
import type { Flash, VmConfig } from "./vm-config.ts";

/** Where Debian and Ubuntu have OVMF: without Secure Boot, so that it needs no SMM, which this machine type lacks. */
const OVMF = { code: "/usr/share/OVMF/OVMF_CODE_4M.fd", vars: "/usr/share/OVMF/OVMF_VARS_4M.fd" } as const;

const CODE_NODE = "firmware0";
const VARS_NODE = "firmware1";

/**
 * This machine's UEFI firmware: its code, and the empty variables that each guest gets a copy of.
 * @throws VmSubstrateError RECIPE_TOOL_MISSING
 */
export async function uefiFirmware(): Promise<typeof OVMF> {
  try {
    for (const file of [OVMF.code, OVMF.vars]) await access(file);
    return OVMF;
  } catch (cause) {
    const message = `OVMF, the firmware of UEFI guests, is not at ${OVMF.code}; scripts/bootstrap installs it (Debian: apt-get install ovmf)`;
    throw new VmSubstrateError("RECIPE_TOOL_MISSING", message, { cause, details: { program: "ovmf" } });
  }
}

/** What `-machine` has to say of the flash chips. Without any the machine has SeaBIOS. */
export function firmwareMachineOptions(firmware: VmConfig["firmware"]) {
  return firmware === undefined ? {} : { pflash0: CODE_NODE, pflash1: VARS_NODE };
}

/** What the flash chips are backed by. The variables can be written, the code cannot. */
export function firmwareArguments(firmware: VmConfig["firmware"]): string[][] {
  if (firmware === undefined) return [];
  const code = { "node-name": CODE_NODE, "read-only": true, ...backing(firmware.code, true) };
  const vars = { "node-name": VARS_NODE, ...backing(firmware.vars, false) };
  return [code, vars].map((chip) => ["-blockdev", JSON.stringify(chip)]);
}

/**
 * A chip's content is RAM to QEMU, and part of the state that a clone loads: x-ignore-shared skips only what is in a shared
 * file. So a clone needs no file but a chip of the same size, which takes what is written to it and keeps nothing.
 * Source: QEMU's hw/block/pflash_cfi01.c, migration/ram.c.
 */
function backing(flash: Flash, readOnly: boolean) {
  if ("sizeBytes" in flash) return { driver: "null-co", size: flash.sizeBytes, "read-zeroes": true };
  return { driver: "raw", file: { driver: "file", filename: flash.file, "read-only": readOnly } };
}
