import { generateKeyPairSync, randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { GuestAgent, guestExec, LineSocket, readGuestFile } from "vm-substrate/qmp";
import { check } from "./context.ts";

/** One operation and what the helper must answer; undefined where any answer will do. See guest/helper/PROTOCOL.md. */
type Operation = readonly [name: string, value: string, answer?: string];

const READY_TIMEOUT_MS = 90_000;
const ANSWER_TIMEOUT_MS = 10_000;
const POLL_MS = 20;
const CLOCK_TOLERANCE_MS = 1000;
const NIC = "eth0";

export interface Identity {
  readonly hostname: string;
  readonly address: string;
  readonly mac: string;
}

export function newIdentity(index: number): Identity {
  const hex = (index & 0xffff).toString(16).padStart(4, "0");
  return {
    hostname: `other-${index}`,
    address: `10.78.${(index >> 8) & 0xff}.${index & 0xff || 1}`,
    mac: `02:78:00:00:${hex.slice(0, 2)}:${hex.slice(2)}`,
  };
}

/** The two channels into a guest of `mini` that was not started by vm-substrate. */
export class Guest implements AsyncDisposable {
  readonly #agent: GuestAgent;
  readonly #helper: LineSocket;
  #answer: PromiseWithResolvers<string> | undefined;

  private constructor(agent: GuestAgent, helper: LineSocket) {
    this.#agent = agent;
    this.#helper = helper;
    helper.onLine((line) => this.#answer?.resolve(line.toString("latin1")));
    helper.onClose(() => this.#answer?.reject(new Error("bench: the channel to the guest's helper ended")));
  }

  static async connect(sockets: { agent: string; helper: string }, signal: AbortSignal): Promise<Guest> {
    const options = { retryUntilPresent: true, timeoutMs: READY_TIMEOUT_MS, signal };
    const agent = await GuestAgent.connect(sockets.agent, options);
    return new Guest(agent, await LineSocket.connect(sockets.helper, options));
  }

  /** As a build waits for a guest of `mini`: helper, agent, and something that listens on port 22. */
  async awaitReady(signal: AbortSignal): Promise<void> {
    await this.#request([["version", ""]], READY_TIMEOUT_MS);
    await this.#agent.sync({ timeoutMs: READY_TIMEOUT_MS, signal });
    for (;;) {
      const tables = await Promise.all(
        ["/proc/net/tcp", "/proc/net/tcp6"].map((path) => readGuestFile(this.#agent, path, { signal })),
      );
      if (tables.some((table) => /:0016 [0-9A-F]+:0000 0A/.test(Buffer.from(table).toString("latin1")))) return;
      await delay(POLL_MS, undefined, { signal });
    }
  }

  /** Every part of an identity that vm-substrate gives a guest of `mini`, in one request, and checked as it does. */
  async personalise({ hostname, address, mac }: Identity): Promise<void> {
    const machineId = randomBytes(16).toString("hex");
    const now = Date.now();
    const [, ...answers] = await this.#request([
      ["clock", `${Math.floor(now / 1000)}.${(now % 1000) * 1_000_000}`],
      ["entropy", randomBytes(32).toString("base64"), "32"],
      ["hostname", hostname, hostname],
      ["mac", `${NIC},${mac}`, `${NIC},${mac}`],
      ["ipv4", `${NIC},${address},16`, `${NIC},${address},16`],
      ["ipv6", `${NIC},global`, NIC],
      file("/etc/hostname", "644", `${hostname}\n`),
      file(
        "/etc/hosts",
        "644",
        `127.0.0.1 localhost\n${address} ${hostname}\n::1 localhost ip6-localhost ip6-loopback\n`,
      ),
      file("/etc/machine-id", "444", `${machineId}\n`),
      file("/var/lib/dbus/machine-id", "444", `${machineId}\n`),
      file("/etc/dropbear/dropbear_ed25519_host_key", "600", hostKey()),
      file("/root/.ssh/authorized_keys", "600", ""),
      file("/var/lib/random-seed", "600", randomBytes(32)),
      ["clock", ""],
    ]);
    const offsetMs = Math.abs(Number(answers.at(-1)) * 1000 - Date.now());
    check(offsetMs < CLOCK_TOLERANCE_MS, `the guest's clock is ${offsetMs} ms off`);
  }

  /** By a program in the guest, as `vm.exec(["hostname"])` asks. */
  async hostname(signal: AbortSignal): Promise<string> {
    const { stdout } = await guestExec(this.#agent, ["hostname"], { signal, timeoutMs: READY_TIMEOUT_MS });
    return Buffer.from(stdout).toString("utf8").trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#helper.close();
    await this.#agent.close();
  }

  async #request(operations: readonly Operation[], timeoutMs = ANSWER_TIMEOUT_MS): Promise<string[]> {
    const id = randomBytes(8).toString("hex");
    this.#answer = Promise.withResolvers<string>();
    const timer = setTimeout(
      () => this.#answer?.reject(new Error("bench: the guest's helper does not answer")),
      timeoutMs,
    );
    try {
      this.#answer.promise.catch(() => {});
      await this.#helper.write(`${[id, ...operations.map(([name, value]) => `${name}=${value}`)].join(" ")}\n`);
      const [answered, verdict, ...fields] = (await this.#answer.promise).split(" ");
      check(answered === id && verdict === "ok", `the guest's helper answers ${verdict} ${fields.join(" ")}`);
      return operations.map(([name, , expected], i) => {
        const got = fields[i]?.slice(name.length + 1) ?? "";
        check(expected === undefined || got === expected, `${name} is "${got}", expected "${expected}"`);
        return got;
      });
    } finally {
      clearTimeout(timer);
    }
  }
}

function file(path: string, mode: string, content: string | Buffer): Operation {
  const bytes = Buffer.from(content);
  return ["file", `${path},${mode},${bytes.toString("base64")}`, `${path},${bytes.length}`];
}

/** Dropbear's format: RFC 4251 strings of the type, and of seed and point. */
function hostKey(): Buffer {
  const { d = "", x = "" } = generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" });
  const both = Buffer.concat([Buffer.from(d, "base64url"), Buffer.from(x, "base64url")]);
  return Buffer.concat(
    [Buffer.from("ssh-ed25519"), both].flatMap((bytes) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}
