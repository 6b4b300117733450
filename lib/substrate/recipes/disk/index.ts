import { createHash } from "node:crypto";
import { copyFile, readFile } from "node:fs/promises";
import { MIB, VmSubstrateError } from "../../../core/index.ts";
import { DiskImage, type RecipePaths, requireDisk, uefiFirmware } from "../../../host/index.ts";
import type { Recipe, RecipeContext } from "../../recipe.ts";
import { compileHelper, guestFile, HELPER_FILES } from "../helper-binary.ts";
import type { DiskDocument } from "./document.ts";
import { bootWithSeed, SEED_REVISION } from "./first-boot.ts";
import { diskGuest } from "./guest.ts";

export { diskDocumentSchema } from "./document.ts";
export { imageFile } from "./image-file.ts";

/** Counts up when this file changes what it makes. */
const RECIPE_REVISION = 1;

/** A guest whose disk somebody made already. @param image a real path; the file is only ever read */
export function diskRecipe(document: DiskDocument, image: string): Recipe {
  const guest = diskGuest(document);
  return { guest, inputsKey, make };

  async function inputsKey(): Promise<string> {
    await using opened = await DiskImage.open(image, document.format);
    const helper = await Promise.all(HELPER_FILES.map((name) => readFile(guestFile(name), "utf8")));
    const firmware = document.firmware === "uefi" ? await digestOf(Object.values(await uefiFirmware())) : [];
    const seed = document.cloudInit ? SEED_REVISION : undefined;
    const inputs = [RECIPE_REVISION, image, opened.key, document.format, guest, helper, firmware, seed];
    return createHash("sha256").update(JSON.stringify(inputs)).digest("hex").slice(0, 16);
  }

  async function make(output: RecipePaths, context: RecipeContext): Promise<void> {
    const { progress, signal } = context;
    await compileHelper(output.helper, signal);
    if (document.firmware === "uefi") {
      const { code, vars } = await uefiFirmware();
      await copyFile(code, output.firmwareCode);
      await copyFile(vars, output.firmwareVars);
    }
    {
      await using opened = await DiskImage.open(image, document.format);
      requireReach(document, opened.virtualSizeBytes);
      progress("disk", `copying ${image}, which stays as it is`);
      await requireDisk(output.dir, opened.storedBytes, `a copy of ${image}`);
      await opened.copyTo(output.disk, signal);
    }
    if (document.cloudInit) await bootWithSeed(guest, output, document.bootTimeoutMs, context);
  }
}

/** @throws VmSubstrateError INVALID_ARGUMENT */
function requireReach({ growth, image }: DiskDocument, sizeBytes: number): void {
  const most = growth?.disk?.maxDiskMiB;
  if (most === undefined || most * MIB >= sizeBytes) return;
  const message = `growth.disk.maxDiskMiB: ${most} is less than the image has: ${image} is a disk of ${sizeBytes / MIB} MiB`;
  throw new VmSubstrateError("INVALID_ARGUMENT", message, { details: { image, maxDiskMiB: most, sizeBytes } });
}

async function digestOf(files: readonly string[]): Promise<string[]> {
  return Promise.all(
    files.map(async (file) =>
      createHash("sha256")
        .update(await readFile(file))
        .digest("hex"),
    ),
  );
}
