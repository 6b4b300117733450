import { readFile, realpath, stat } from "node:fs/promises";
import { basename, dirname, extname } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { KIB, MIB, messageOf, VmSubstrateError, validate } from "../../core/index.ts";
import type { GuestFile } from "../../netcfg/index.ts";
import type { Recipe } from "../recipe.ts";
import { pathBeside } from "./beside.ts";
import { type DebianDocument, debianDocumentSchema } from "./debian/document.ts";
import { debianRecipe } from "./debian/index.ts";
import { diskDocumentSchema, diskRecipe, imageFile } from "./disk/index.ts";

const MAX_RECIPE_BYTES = 256 * KIB;
/** Of all files that a recipe names. */
const MAX_RECIPE_FILES_BYTES = 64 * MIB;
/** Aliases of aliases would make a small text an endless one ("billion laughs"). */
const MAX_YAML_ALIASES = 100;

/** First of all, so that an unknown kind is not measured by the keys of another. */
const kindSchema = z.looseObject({ from: z.enum(["debian", "disk"], 'expected "debian" or "disk"') });

/** A recipe and the name that its substrate has unless another is given. */
export interface NamedRecipe {
  readonly name: string;
  readonly recipe: Recipe;
}

/**
 * Reads a recipe file: YAML 1.2, every key known. Files that it names are beside it or below, also behind symbolic links.
 *
 * @throws VmSubstrateError INVALID_ARGUMENT naming the file and the field, DISK_IMAGE_REFUSED
 */
export async function recipeFromFile(file: string): Promise<NamedRecipe> {
  const text = (await readBounded(file, MAX_RECIPE_BYTES, "recipe")).toString("utf8");
  const content = parsed(text, file);
  if (isOfDisk(content)) return diskRecipeFromFile(file, content);
  validate(kindSchema, content, `recipe ${file}`);
  const document = validate(debianDocumentSchema, content, `recipe ${file}`);
  const files = await contentsOf(document, await realpath(dirname(file)), file);
  const { name = basename(file, extname(file)) } = document;
  return { name, recipe: debianRecipe(document, files) };
}

async function diskRecipeFromFile(file: string, content: unknown): Promise<NamedRecipe> {
  const document = validate(diskDocumentSchema, content, `recipe ${file}`);
  const recipe = diskRecipe(document, await imageFile(document.image, file));
  return { name: document.name ?? basename(file, extname(file)), recipe };
}

function isOfDisk(content: unknown): boolean {
  return typeof content === "object" && content !== null && "from" in content && content.from === "disk";
}

function parsed(text: string, file: string): unknown {
  try {
    return parse(text, { maxAliasCount: MAX_YAML_ALIASES, strict: true, uniqueKeys: true });
  } catch (cause) {
    throw new VmSubstrateError("INVALID_ARGUMENT", `recipe ${file} is not YAML: ${messageOf(cause)}`, { cause });
  }
}

async function contentsOf({ files }: DebianDocument, dir: string, recipe: string): Promise<GuestFile[]> {
  let left = MAX_RECIPE_FILES_BYTES;
  const found: GuestFile[] = [];
  for (const { path, mode, content, source } of files) {
    const bytes = source === undefined ? Buffer.from(content ?? "") : await beside(dir, source, left, recipe);
    left -= bytes.length;
    found.push({ path, mode, content: bytes });
  }
  return found;
}

async function beside(dir: string, source: string, maxBytes: number, recipe: string): Promise<Buffer> {
  const real = await pathBeside(dir, source, `recipe ${recipe}: source ${source}`);
  return readBounded(real, maxBytes, `recipe ${recipe}: source`);
}

async function readBounded(file: string, maxBytes: number, what: string): Promise<Buffer> {
  try {
    const { size } = await stat(file);
    if (size <= maxBytes) return await readFile(file);
  } catch (cause) {
    throw new VmSubstrateError("INVALID_ARGUMENT", `${what} ${file}: ${messageOf(cause)}`, { cause });
  }
  const message = `${what} ${file} is larger than ${maxBytes} bytes`;
  throw new VmSubstrateError("INVALID_ARGUMENT", message, { details: { file, maxBytes } });
}
