import { readFile } from "node:fs/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { ActivateSpec, FileSpec, ForkOptions } from "../lib/index.ts";
import { VmSubstrateError } from "../lib/index.ts";
import { duration, list, pair, whole } from "./values.ts";

/** What VMs are given that are made of a substrate or of another VM. */
export interface NewVmOptions {
  readonly hostname?: readonly string[];
  readonly sshKey?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly label?: Readonly<Record<string, string>>;
  readonly ttl?: number;
  readonly wait?: boolean;
  readonly timeout?: number;
  readonly runTimeout?: number;
}

export interface ActivateOptions extends NewVmOptions {
  readonly substrate: string;
  readonly fabric?: string;
  readonly subnet?: string;
  readonly subnet6?: string;
  readonly address?: readonly string[];
  readonly reserved?: readonly string[];
  readonly mac?: readonly string[];
  readonly cpus?: number;
  readonly memoryMib?: number;
  readonly diskMib?: number;
  readonly file?: readonly GuestFile[];
  readonly maxLifetime?: number;
  readonly onExpiry?: "release" | "park";
  readonly idempotencyKey?: string;
  readonly channel?: "helper" | "agent";
}

interface GuestFile {
  readonly from: string;
  readonly path: string;
  readonly mode: number | undefined;
}

export function addNewVmOptions(to: Command): Command {
  return to
    .option("--hostname <name>", "a name, a pattern with {index}, or several times: a name for each VM", list)
    .option("--ssh-key <file>", "public keys that may log in as root; several times", list)
    .option("--env <key=value>", "environment of the command and of every exec; several times", pair)
    .option("--label <key=value>", "your own bookkeeping, to be selected by; several times", pair)
    .option("--ttl <duration>", "expires so long after its hand-over, unless it is extended", duration)
    .option("--wait", "wait in line while memory or addresses are short")
    .option("--timeout <duration>", "for the whole call", duration)
    .option("--run-timeout <duration>", "for the command after --", duration);
}

export function addActivateOptions(to: Command): Command {
  to.requiredOption("--substrate <name>", 'as "mini", for the newest version, or "mini@3"');
  addNewVmOptions(to)
    .addOption(
      new Option("--fabric <kind>", "none: it reaches nobody; mcast: its subnet's VMs").choices(["none", "mcast"]),
    )
    .option("--subnet <network>", "IPv4, as 10.77.0.0/16")
    .option("--subnet6 <network>", "IPv6, as fd77::/64")
    .option("--address <address>", "IPv4 or IPv6, one for each VM, in order", list)
    .option("--reserved <range>", "addresses that no VM gets: one, first-last, or a network; several times", list)
    .option("--mac <address>", "one for each VM, in order", list)
    .option("--cpus <count>", "processors", whole)
    .option("--memory-mib <MiB>", "memory", whole)
    .option("--disk-mib <MiB>", "the disk's size", whole)
    .option("--file <host:guest[:mode]>", "copies a file of this machine; several times", guestFile)
    .option("--max-lifetime <duration>", "is released so long after its hand-over in any case", duration)
    .addOption(new Option("--on-expiry <what>", "what happens after --ttl").choices(["release", "park"]))
    .option("--idempotency-key <key>", "the same key and options give the same VMs, also when the call is repeated")
    .addOption(new Option("--channel <kind>", "who sets the identity in the guest").choices(["helper", "agent"]));
  return to;
}

/** @throws VmSubstrateError INVALID_ARGUMENT when a file cannot be read */
export async function activateSpec(options: ActivateOptions, argv: readonly string[]): Promise<ActivateSpec> {
  const { substrate, fabric, subnet, subnet6, address = [], reserved, mac: macs } = options;
  const { cpus, memoryMib: memoryMiB, diskMib: diskMiB, file: files = [] } = options;
  const addresses = address.filter((one) => !one.includes(":"));
  const addresses6 = address.filter((one) => one.includes(":"));
  const network = { fabric, subnet, subnet6, reserved, addresses: some(addresses), addresses6: some(addresses6), macs };
  const resources = { cpus, memoryMiB, diskMiB };
  const spec = {
    ...(await newVmSpec(options, argv)),
    substrate,
    network: hasAny(network) ? network : undefined,
    resources: hasAny(resources) ? resources : undefined,
    files: files.length === 0 ? undefined : await Promise.all(files.map(fileSpec)),
    maxLifetimeMs: options.maxLifetime,
    onExpiry: options.onExpiry,
    idempotencyKey: options.idempotencyKey,
    channel: options.channel,
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the daemon validates every value
  return spec as ActivateSpec;
}

/** @throws VmSubstrateError INVALID_ARGUMENT when a key cannot be read */
export async function newVmSpec(options: NewVmOptions, argv: readonly string[]): Promise<ForkOptions> {
  const { hostname = [], sshKey = [], runTimeout: timeoutMs } = options;
  const [only, ...others] = hostname;
  if (timeoutMs !== undefined && argv.length === 0) {
    throw new VmSubstrateError("INVALID_ARGUMENT", "--run-timeout is for a command; write that after --");
  }
  return {
    hostname: others.length === 0 ? only : hostname,
    authorizedKeys: sshKey.length === 0 ? undefined : (await Promise.all(sshKey.map(publicKeys))).flat(),
    env: options.env,
    labels: options.label,
    ttlMs: options.ttl,
    wait: options.wait,
    timeoutMs: options.timeout,
    run: argv.length === 0 ? undefined : { argv, ...(timeoutMs === undefined ? {} : { timeoutMs }) },
  };
}

/** "job.json:/root/job.json:0600" */
function guestFile(text: string, before: readonly GuestFile[] = []): readonly GuestFile[] {
  const [, from, path, mode] = /^(.+?):(\/[^:]*)(?::([0-7]{3,4}))?$/.exec(text) ?? [];
  if (from === undefined || path === undefined) {
    throw new InvalidArgumentError("expected HOST:GUEST or HOST:GUEST:MODE, with an absolute path in the guest");
  }
  return [...before, { from, path, mode: mode === undefined ? undefined : Number.parseInt(mode, 8) }];
}

async function fileSpec({ from, path, mode }: GuestFile): Promise<FileSpec> {
  return { path, content: await contentOf(from, "--file"), mode };
}

async function publicKeys(file: string): Promise<string[]> {
  const text = (await contentOf(file, "--ssh-key")).toString("utf8");
  if (text.includes("PRIVATE KEY-----")) {
    throw new VmSubstrateError(
      "INVALID_ARGUMENT",
      `--ssh-key ${file} is a private key; name the public one, ${file}.pub`,
    );
  }
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
}

async function contentOf(file: string, option: string): Promise<Buffer> {
  return readFile(file).catch((cause: unknown) => {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new VmSubstrateError("INVALID_ARGUMENT", `${option} ${file} cannot be read: ${why}`, { cause });
  });
}

function some<Item>(items: readonly Item[]): readonly Item[] | undefined {
  return items.length === 0 ? undefined : items;
}

function hasAny(values: object): boolean {
  return Object.values(values).some((value) => value !== undefined);
}
