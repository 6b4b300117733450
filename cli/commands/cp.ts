import { readFile, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { buffer } from "node:stream/consumers";
import type { Command } from "commander";
import type { RemoteVm } from "../../client/index.ts";
import { VmSubstrateError } from "../../lib/index.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";

/** What one request of the API carries. */
const MAX_BYTES = 64 * 1024 ** 2;
const DEFAULT_MODE = 0o644;

export function cpCommand(cli: Cli): Command {
  return command("cp", {
    summary: "Copy a file into a VM, or out of one",
    more: "One of the two is VM:PATH, the other a path here, or - for standard input or output. At most 64 MiB; more, and whole folders, go through tar and exec.",
    examples: [
      "substrate cp job.json node-0:/root/job.json",
      "substrate cp node-0:/var/log/messages .",
      "echo hello | substrate cp - node-0:/tmp/hello",
      "substrate cp node-0:/etc/hosts - | grep node",
    ],
  })
    .argument("<from>")
    .argument("<to>")
    .action(async (from: string, to: string) => {
      const [source, target] = [inGuest(from), inGuest(to)];
      if ((source === undefined) === (target === undefined)) {
        throw new VmSubstrateError(
          "INVALID_ARGUMENT",
          "expected one VM:PATH, with an absolute path, and one path here or -",
        );
      }
      const pool = await cli.pool();
      if (target !== undefined) await copyIn(cli, from, await pool.find(target.vm), target.path);
      if (source !== undefined) await copyOut(cli, await pool.find(source.vm), source.path, to);
    });
}

/** "node-0:/root/job.json". A path here that has a colon is written "./a:b". */
function inGuest(text: string): { readonly vm: string; readonly path: string } | undefined {
  const [, vm, path] = /^([^:/]+):(\/.*)$/s.exec(text) ?? [];
  return vm === undefined || path === undefined ? undefined : { vm, path };
}

async function copyIn(cli: Cli, from: string, vm: RemoteVm, path: string): Promise<void> {
  const { signal } = cli;
  const isStream = from === "-";
  const mode = isStream ? DEFAULT_MODE : await modeOf(from);
  const content = isStream ? await buffer(cli.io.stdin) : await readFile(from);
  if (content.length > MAX_BYTES) throw tooLarge(from);
  const target = path.endsWith("/") ? join(path, isStream ? "stdin" : basename(from)) : path;
  await vm.writeFile(target, content, { signal });
  if (mode === DEFAULT_MODE) return;
  const { exitCode, stderr } = await vm.exec(["chmod", mode.toString(8).padStart(4, "0"), target], { signal });
  if (exitCode !== 0) cli.out.say(`${target} was copied, but has not its mode: ${stderr.trim()}`);
}

async function copyOut(cli: Cli, vm: RemoteVm, path: string, to: string): Promise<void> {
  const content = await vm.readFile(path, { maxBytes: MAX_BYTES, signal: cli.signal });
  if (to === "-") return cli.out.text(content);
  const isFolder = await stat(to).then(
    (found) => found.isDirectory(),
    () => false,
  );
  await writeFile(isFolder ? join(to, basename(path)) : to, content);
}

async function modeOf(file: string): Promise<number> {
  const found = await stat(file).catch((cause: unknown) => {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new VmSubstrateError("INVALID_ARGUMENT", `${file} cannot be read: ${why}`, { cause });
  });
  if (found.isDirectory()) {
    throw new VmSubstrateError(
      "INVALID_ARGUMENT",
      `${file} is a folder; send it by: tar -c ${file} | substrate exec -i VM -- tar -x`,
    );
  }
  if (found.size > MAX_BYTES) throw tooLarge(file);
  return found.mode & 0o777;
}

function tooLarge(what: string): VmSubstrateError {
  return new VmSubstrateError(
    "INVALID_ARGUMENT",
    `${what} is larger than 64 MiB; send it by tar and substrate exec -i`,
  );
}
