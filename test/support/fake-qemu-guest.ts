import { matches } from "../../lib/substrate/generalize/find.ts";
import { FakeHelper } from "./fake-helper.ts";
import type { FakeScript } from "./fake-qemu-script.ts";
import { type FakeArguments, FakeCommandError, type FakeCommands, FakeGuestAgent } from "./fake-qmp-server.ts";

const LISTENS_ON_22 =
  "  sl  local_address rem_address   st\n   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000\n";

/** A guest with the helper and the agent of the `mini` recipe, on one file system in memory. */
export class FakeGuest {
  readonly files = new Map<string, Buffer>([
    ["/proc/meminfo", Buffer.from("MemTotal:       90000 kB\nMemFree:        60000 kB\nMemAvailable:   65000 kB\n")],
    ["/proc/sys/vm/min_free_kbytes", Buffer.from("2737\n")],
    ["/proc/net/tcp", Buffer.from(LISTENS_ON_22)],
    ["/proc/net/tcp6", Buffer.from("  sl  local_address remote_address  st\n")],
    ["/etc/machine-id", Buffer.from("0123456789abcdef0123456789abcdef\n")],
    ["/root/.ssh/authorized_keys", Buffer.from("ssh-ed25519 AAAA builder\n")],
  ]);
  /** Each call of systemctl. */
  readonly ran: string[] = [];
  readonly helper: FakeHelper;
  readonly agent: FakeGuestAgent;
  /** Starts the program that carries sessions. @returns its status */
  carry: () => Promise<number> = async () => 1;
  readonly #processes = new Map<number, Record<string, unknown>>();
  #nextPid = 300;

  constructor(script: FakeScript) {
    this.helper = new FakeHelper(this.files, script);
    this.agent = new FakeGuestAgent(this.#commands);
    for (const [path, content] of this.files) this.agent.files.set(path, content);
    // One map for both: what the helper writes the agent reads.
    Object.assign(this, { files: this.agent.files });
    Object.assign(this.helper, { files: this.agent.files });
  }

  #run(argv: readonly string[], stdin: Buffer, env: readonly string[]): Record<string, unknown> {
    const [program = "", ...args] = argv;
    const base64 = (text: string) => Buffer.from(text).toString("base64");
    const ended = (output = "", exitcode = 0, complaint = "") => ({
      exited: true,
      exitcode,
      "out-data": base64(output),
      "err-data": base64(complaint),
    });
    switch (program) {
      case "false":
        return ended("", 1);
      case "true":
      case "sync":
      case "chmod":
      case "mkdir":
      case "/bin/sh":
        return ended();
      case "hostname":
        return ended(`${this.helper.hostname}\n`);
      case "cat":
        return ended(args[0] === undefined ? stdin.toString() : this.agent.files.get(args[0])?.toString());
      case "complain":
        return ended("half a result\n", 3, "no such match\n");
      case "env":
        return ended(`${env.join("\n")}\n`);
      case "date":
        return ended(`${this.helper.clockMs}\n`);
      case "stat": // -c %a PATH
        return ended(`${this.helper.modes.get(args.at(-1) ?? "") ?? "?"}\n`);
      case "helper-log":
        return ended(`${this.helper.received.join("\n")}\n`);
      case "sleep":
        return { exited: false };
      case "systemctl":
        this.ran.push(argv.join(" "));
        return ended(this.#systemctl(args));
      case "find":
        return ended(this.#find(args));
      default:
        if (!this.agent.files.has(program)) throw new FakeCommandError(`Failed to execute child process "${program}"`);
        return ended(this.helper.serve(stdin.toString("latin1").trimEnd()));
    }
  }

  /** `find ROOT... -depth ( -path P -o -path Q ) [! -path R]... [-type f -size +0] -print [-exec rm -rf {} + | -exec truncate -c -s 0 {} +]` */
  #find(args: readonly string[]): string {
    const patterns = args.flatMap((arg, i) => (args[i - 1] === "-path" && args[i - 2] !== "!" ? [arg] : []));
    const except = args.flatMap((arg, i) => (args[i - 1] === "-path" && args[i - 2] === "!" ? [arg] : []));
    const found = [...this.agent.files].filter(
      ([path, content]) =>
        patterns.some((pattern) => matches(pattern, path)) &&
        !except.some((pattern) => matches(pattern, path)) &&
        (!args.includes("+0") || content.length > 0),
    );
    for (const [path] of found) {
      if (path.includes("stubborn")) continue;
      if (args.includes("rm")) this.agent.files.delete(path);
      // Without -c it would open the file to make it, which in folders for everybody not even root may: protected_regular of proc(5).
      if (args.includes("truncate") && args.includes("-c")) this.agent.files.set(path, Buffer.alloc(0));
    }
    return found.map(([path]) => `${path}\n`).join("");
  }

  /** `is-active`, of the units that the guest's /run/active names; whatever else succeeds. */
  #systemctl([verb, ...units]: readonly string[]): string {
    if (verb === "is-system-running") return "running\n";
    if (verb !== "is-active") return "";
    const active = this.agent.files.get("/run/active")?.toString().split("\n") ?? [];
    const states = units.filter((unit) => unit !== "--").map((unit) => (active.includes(unit) ? "active" : "inactive"));
    return `${states.join("\n")}\n`;
  }

  get #commands(): FakeCommands {
    return {
      "guest-exec": async (args: FakeArguments) => {
        const argv = [String(args.path), ...(Array.isArray(args.arg) ? args.arg.map(String) : [])];
        if (argv[0]?.includes("/.substrate-session-") && this.agent.files.has(argv[0])) {
          this.#processes.set(this.#nextPid, { exited: true, exitcode: await this.carry() });
          return { pid: this.#nextPid++ };
        }
        const input = typeof args["input-data"] === "string" ? args["input-data"] : "";
        const pid = this.#nextPid++;
        const env = Array.isArray(args.env) ? args.env.map(String) : [];
        this.#processes.set(pid, this.#run(argv, Buffer.from(input, "base64"), env));
        return { pid };
      },
      "guest-exec-status": (args: FakeArguments) => {
        const status = this.#processes.get(Number(args.pid));
        if (status === undefined) throw new FakeCommandError("Invalid parameter 'pid'");
        return status;
      },
    };
  }
}
