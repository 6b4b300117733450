import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { arch, release } from "node:os";
import { pipeline } from "node:stream/promises";
import { pack } from "tar-stream";
import type { RemotePool, RemoteVm } from "../client/index.ts";
import { hostFailure, messageOf } from "../lib/core/index.ts";
import { daemonPlace, Paths } from "../lib/host/index.ts";
import { doctor } from "../lib/index.ts";
import type { Cli } from "./cli.ts";
import { redactor } from "./redact.ts";
import { configFileOf, readConfig } from "./settings.ts";
import { tokenFileOf } from "./token-file.ts";
import { vmRow } from "./vm-rows.ts";

/** Of each log. */
const LOG_BYTES = 256 * 1024;

export interface Bundle {
  readonly pool: RemotePool;
  readonly vm: RemoteVm;
  readonly argv: readonly string[];
  readonly file: string;
}

/** Writes what helps somebody else to understand a failure. What cannot be had is told in its place. */
export async function writeBundle(cli: Cli, { pool, vm, argv, file }: Bundle): Promise<void> {
  const { directories } = await cli.settings();
  const place = await daemonPlace(directories);
  const config = await readConfig(cli.options, cli.io.env);
  const redact = redactor(await readFile(await tokenFileOf(cli), "utf8").catch(() => ""));
  const json = (value: unknown) => JSON.stringify(value, null, 2);
  const parts: Readonly<Record<string, () => Promise<string> | string>> = {
    "versions.json": async () => {
      const { version, startedAt } = await pool.daemon();
      return json({ daemon: version, startedAt, node: process.versions.node, kernel: release(), arch: arch() });
    },
    "qemu-argv.json": () => json(argv),
    "qemu.log": () => end(new Paths(directories).vm(vm.id).log),
    "console.txt": () => vm.console({ signal: cli.signal }),
    "vm.json": () => json(vmRow(vm)),
    "vms.json": () => json(pool.vms.map(vmRow)),
    "docks.json": () => json(pool.docks),
    "memory.json": () => json(pool.memory),
    "substrates.json": async () => json(await pool.substrates()),
    "config.json": () => json({ file: configFileOf(cli.options, cli.io.env) ?? null, ...config }),
    "doctor.json": async () => json(await doctor({ ...directories, qemu: config.qemu })),
    "daemon.log": () => end(config.log?.file ?? place.log),
  };
  const tar = pack();
  // Names and addresses of guests are nobody else's on this machine.
  const written = pipeline(tar, createWriteStream(file, { mode: 0o600 }));
  written.catch(() => {}); // it is awaited below
  for (const [name, part] of Object.entries(parts)) {
    cli.out.progress.show(`bundle: ${name}`);
    const text = await Promise.resolve()
      .then(part)
      .catch((error: unknown) => `not to be had: ${messageOf(error)}`);
    tar.entry({ name, mode: 0o600 }, redact(text));
  }
  tar.finalize();
  await written.catch((error: unknown) => {
    throw hostFailure(error) ?? error;
  });
  cli.signal.throwIfAborted();
}

async function end(file: string): Promise<string> {
  const bytes = await readFile(file);
  return bytes.subarray(-LOG_BYTES).toString();
}
