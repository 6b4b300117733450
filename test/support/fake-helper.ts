import type { FakeProtocol } from "./fake-line-server.ts";
import { FakeMemoryModules } from "./fake-memory-modules.ts";
import type { FakeScript } from "./fake-qemu-script.ts";

const EINVAL = 22;
const ECONNREFUSED = 111;
const ENOSYS = 38;
const ENOENT = 2;

/** An operation that the helper refuses, with its errno. */
class Refusal extends Error {
  readonly errno: number;

  constructor(errno: number) {
    super(`errno ${errno}`);
    this.errno = errno;
  }
}

/** The guest's machine, as far as the guest knows of it. */
export interface FakeResources {
  cpus: number;
  /** What was frozen counts as whole blocks. */
  memory: FakeMemoryModules;
  diskBytes: number;
}

const BLOCK_MIB = 128;
const TABLES = 0.05;
/** Behind another one; and the table's copy at the end. */
const PARTITION_START = 512 * 2 ** 20;
const GPT_BYTES = 33 * 512;

/** guest/helper/helper.c on state in memory: the same requests, the same answers, and lies where the script wants them. */
export class FakeHelper {
  hostname = "localhost";
  mac = "52:54:00:12:34:56";
  /** By family and scope: what `ipv4`, `ipv6 link` and `ipv6 global` answer after the interface's name. */
  readonly addresses = new Map<string, string>();
  readonly resources: FakeResources = { cpus: 1, memory: new FakeMemoryModules(1), diskBytes: 0 };
  readonly files: Map<string, Buffer>;
  readonly modes = new Map<string, string>();
  readonly received: string[] = [];
  readonly #script: Pick<FakeScript, "lies" | "clockOffsetMs" | "clockRate" | "pausesMs" | "refuses">;
  #clockDriftMs = 0;
  readonly #bootedAt = performance.now();

  constructor(
    files = new Map<string, Buffer>(),
    script: Pick<FakeScript, "lies" | "clockOffsetMs" | "clockRate" | "pausesMs" | "refuses"> = {},
  ) {
    this.files = files;
    this.#script = script;
  }

  /** On a socket of its own; for tests without a fake QEMU. */
  readonly protocol: FakeProtocol = (peer) => ({ onLine: (line) => peer.send(this.serve(line.toString("latin1"))) });

  /** The answer to one request line, with its newline. */
  serve(line: string): string {
    this.received.push(line);
    const [id = "", ...operations] = line.split(" ");
    const answers: string[] = [];
    for (const operation of operations) {
      const equals = operation.indexOf("=");
      const name = equals < 0 ? operation : operation.slice(0, equals);
      try {
        if (equals < 0) throw new Refusal(ENOSYS);
        if (!line.includes(" mac=") && this.#script.refuses?.includes(name)) throw new Refusal(ENOENT);
        answers.push(`${name}=${this.#lie(name) ?? this.#run(name, operation.slice(equals + 1))}`);
      } catch (error) {
        return `${id} error ${name} ${error instanceof Refusal ? error.errno : EINVAL}\n`;
      }
    }
    return `${[id, "ok", ...answers].join(" ")}\n`;
  }

  #lie(name: string): string | undefined {
    const lies: Readonly<Record<string, string>> = this.#script.lies ?? {};
    return lies[name];
  }

  #run(name: string, value: string): string {
    const [first = "", second = "", third = ""] = value.split(",");
    switch (name) {
      case "version":
        return "3";
      case "hostname":
        this.hostname = value || this.hostname;
        return this.hostname;
      case "mac":
        if (value === first) return `${first},${this.mac}`;
        if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(second)) throw new Refusal(EINVAL);
        this.mac = second;
        return value;
      case "ipv4":
        return this.#address(first, "ipv4", value === first ? "" : second, third);
      case "ipv6": {
        if (second === "none") this.addresses.clear();
        const link = second === "link" || second.startsWith("fe80");
        return this.#address(first, link ? "link" : "global", /^(link|global|none)$/.test(second) ? "" : second, third);
      }
      case "entropy": {
        const { length } = Buffer.from(value, "base64");
        if (length < 32) throw new Refusal(EINVAL);
        return String(length);
      }
      case "clock":
        return this.#clock(value);
      case "file": {
        const content = Buffer.from(third, "base64");
        this.files.set(first, content);
        this.modes.set(first, second);
        return `${first},${content.length}`;
      }
      case "append": {
        const before = this.files.get(first);
        if (before === undefined) throw new Refusal(ENOENT);
        const content = Buffer.concat([before, Buffer.from(second, "base64")]);
        this.files.set(first, content);
        return `${first},${content.length}`;
      }
      case "read": {
        const content = this.files.get(value);
        if (content === undefined) throw new Refusal(ENOENT);
        return `${value},${content.subarray(0, 4096).toString("base64")}`;
      }
      case "cpus":
        return String(this.resources.cpus);
      case "memory": {
        const { baseMiB, addedMiB } = this.resources.memory;
        const blocks = Math.ceil(baseMiB / BLOCK_MIB) * BLOCK_MIB;
        return `${(blocks + addedMiB) * 1024},${(baseMiB + addedMiB) * 1024 - 100}`;
      }
      case "udev":
        return "none";
      case "onlining":
        this.resources.memory.onlining = value;
        return value;
      case "offline":
        if (!this.resources.memory.switchOff(Number(first), Number(second))) throw new Refusal(EINVAL);
        return second;
      case "disk": {
        if (second !== "/") throw new Refusal(EINVAL);
        const { diskBytes } = this.resources;
        return `${first},${diskBytes},${Math.floor(diskBytes * (1 - TABLES))}`;
      }
      case "partition": {
        if (second !== "/") throw new Refusal(EINVAL);
        const bytes = this.resources.diskBytes - PARTITION_START - GPT_BYTES;
        return `${first},${PARTITION_START},${bytes},${Math.floor(bytes * (1 - TABLES))}`;
      }
      case "http":
        throw new Refusal(ECONNREFUSED);
      case "scrub":
        return "1024";
      case "poll":
        return value;
      default:
        throw new Refusal(ENOSYS);
    }
  }

  /** Sets one, takes all away (`none`), or reads. */
  #address(nic: string, kind: string, address: string, prefix: string): string {
    if (address === "none") this.addresses.delete(kind);
    else if (address !== "" && prefix === "") throw new Refusal(EINVAL);
    else if (address !== "") this.addresses.set(kind, `,${address},${prefix}`);
    return `${nic}${this.addresses.get(kind) ?? ""}`;
  }

  /** What the guest takes for the time, milliseconds since 1970. */
  get clockMs(): number {
    const { clockOffsetMs = 0, clockRate = 1 } = this.#script;
    return Date.now() + this.#clockDriftMs + clockOffsetMs + (clockRate - 1) * (performance.now() - this.#bootedAt);
  }

  /** A guest's clock stands still while it is paused. */
  wasPaused(): void {
    this.#clockDriftMs -= this.#script.pausesMs ?? 0;
  }

  #clock(value: string): string {
    if (value !== "") {
      const [seconds = "0", nanoseconds = "0"] = value.split(".");
      this.#clockDriftMs = Number(seconds) * 1000 + Number(nanoseconds) / 1_000_000 - Date.now();
    }
    const now = this.clockMs;
    return `${Math.floor(now / 1000)}.${String(Math.floor(now % 1000) * 1_000_000).padStart(9, "0")}`;
  }
}
