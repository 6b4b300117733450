import { readdir, rm, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { runTool, type ToolOptions } from "../../host/index.ts";

const TOOL_TIMEOUT_MS = 120_000;

/** Remembers the owners that files are to have, for a user who may not give files away. Source: fakeroot(1). */
export class Fakeroot {
  readonly #state: string;
  #isBegun = false;

  /** @param state a file of its own */
  constructor(state: string) {
    this.#state = state;
  }

  async run(argv: readonly string[], options: ToolOptions): Promise<void> {
    const known = this.#isBegun ? ["-i", this.#state] : [];
    await runTool(["fakeroot", ...known, "-s", this.#state, "--", ...argv], options);
    this.#isBegun = true;
  }
}

/** A qcow2 with an ext4 of `sizeMiB` holding `root`, owned by root where `fakeroot` knows no other owner. Source: mke2fs(8) -d. */
export async function ext4Image(
  root: string,
  qcow2: string,
  sizeMiB: number,
  { fakeroot, signal }: { readonly fakeroot?: Fakeroot; readonly signal: AbortSignal | undefined },
): Promise<void> {
  const options = { timeoutMs: TOOL_TIMEOUT_MS, signal };
  const raw = `${qcow2}.raw`;
  // Without a journal: a clone's disk never outlives a crash of its clone.
  // Blocks of 4 KiB also on a small disk: it then consists of fewer groups, and is grown in less time.
  const features = ["-O", "^has_journal", "-b", "4096", "-E", "root_owner=0:0,lazy_itable_init=0"];
  const argv = ["mke2fs", "-q", "-t", "ext4", ...features, "-d", root, raw, `${sizeMiB}M`] as const;
  if (fakeroot === undefined) await runTool(argv, options);
  else await fakeroot.run(argv, options);
  // mke2fs takes owners from the folder; made by an ordinary user they are that user's.
  if (fakeroot === undefined && process.getuid?.() !== 0) {
    // A file, because debugfs opens its commands by name and Node's stdin is a socket, which cannot be opened.
    const commands = `${qcow2}.debugfs`;
    await writeFile(commands, await ownedByRoot(root));
    await runTool(["debugfs", "-w", "-f", commands, raw], options);
    await rm(commands);
  }
  await runTool(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2], options);
  await rm(raw);
}

/** An initramfs of `root`, owned by root, with the same bytes for the same files. Source: cpio(1). */
export async function initramfs(root: string, file: string, signal?: AbortSignal): Promise<void> {
  const names = ["/", ...(await paths(root))].map((path) => `.${path}`);
  const argv = ["cpio", "--create", "--format=newc", "--owner=0:0", "--reproducible", "--quiet", "-F", file] as const;
  await runTool(argv, { timeoutMs: TOOL_TIMEOUT_MS, signal, cwd: root, stdin: `${names.join("\n")}\n` });
}

async function ownedByRoot(root: string): Promise<string> {
  const commands = (await paths(root)).flatMap((path) => [`sif "${path}" uid 0`, `sif "${path}" gid 0`]);
  return `${commands.join("\n")}\n`;
}

async function paths(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries.map((entry) => `/${relative(root, join(entry.parentPath, entry.name))}`).toSorted();
}
