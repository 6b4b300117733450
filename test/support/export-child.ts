/**
 * `node export-child.ts JSON`: exports the substrate "fake" again and again, by a disk that is full at another of its calls each
 * time (io-faults.c), until all calls have had their turn. Prints a line of JSON for each: how it failed, and what is in the folder.
 */
import { readdir } from "node:fs/promises";
import { dirname } from "node:path";
import { type Directories, Paths } from "../../lib/host/index.ts";
import { Catalog, writeArchive } from "../../lib/substrate/index.ts";

const { directories, file }: { directories: Directories; file: string } = JSON.parse(process.argv[2] ?? "{}");
const substrate = await new Catalog(new Paths(directories)).latest("fake");
for (let at = 1; ; at++) {
  // The shim reads the real environment, to which Node writes through.
  Object.assign(process.env, { IO_FAULTS_BELOW: dirname(file), IO_FAULTS_AT: String(at) });
  const outcome = await writeArchive(substrate, file, { signal: undefined, onProgress: undefined }).then(
    () => "written",
    (error: NodeJS.ErrnoException) => error.code,
  );
  console.log(JSON.stringify({ outcome, there: await readdir(dirname(file)) }));
  if (process.env.IO_FAULTS_DONE !== String(at)) break;
}
