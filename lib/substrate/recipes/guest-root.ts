import { chmod, copyFile, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { runTool } from "../../host/index.ts";

const TOOL_TIMEOUT_MS = 60_000;

/** A folder that becomes a guest's root: files with explicit modes, independent of this process's umask. */
export class GuestRoot {
  readonly dir: string;

  constructor(dir: string) {
    this.dir = dir;
  }

  async directory(path: string, mode = 0o755): Promise<void> {
    await mkdir(join(this.dir, path), { recursive: true });
    await chmod(join(this.dir, path), mode);
  }

  async file(path: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
    await this.#make(path);
    await writeFile(join(this.dir, path), content);
    await chmod(join(this.dir, path), mode);
  }

  async copy(source: string, path: string, mode = 0o644): Promise<void> {
    await this.#make(path);
    await copyFile(source, join(this.dir, path));
    await chmod(join(this.dir, path), mode);
  }

  async link(path: string, target: string): Promise<void> {
    await this.#make(path);
    await symlink(target, join(this.dir, path));
  }

  /** Makes room for a path: its folder is there, and nothing else has the name. */
  async #make(path: string): Promise<void> {
    await mkdir(join(this.dir, dirname(path)), { recursive: true, mode: 0o755 });
    await rm(join(this.dir, path), { force: true });
  }
}

/**
 * The shared libraries of an unpacked program, as paths below `unpacked`: the unpacked dynamic loader itself is asked,
 * so nothing of this machine's libraries gets in. Source: ld.so(8), --list.
 */
export async function sharedLibraries(unpacked: string, program: string, signal?: AbortSignal): Promise<string[]> {
  const folders = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"]
    .map((folder) => join(unpacked, folder))
    .join(":");
  const argv = [join(unpacked, LOADER), "--library-path", folders, "--list", join(unpacked, program)] as const;
  const output = (await runTool(argv, { timeoutMs: TOOL_TIMEOUT_MS, signal })).toString("utf8");
  return [...output.matchAll(/=> (\S+)/g)]
    .map((match) => match[1] ?? "")
    .filter((path) => !path.endsWith(`/${LOADER}`));
}

export const LOADER = "lib64/ld-linux-x86-64.so.2";
