import { styleText } from "node:util";
import { PHASES, type Phase, type SubstrateInfo } from "vm-substrate";

export interface DemoVm {
  readonly hostname: string;
  readonly address: string;
  readonly mac: string;
  readonly machineId: string;
  readonly sshHostKey: string;
  /** The first 16 bytes of its /dev/urandom after hand-over, in hexadecimal. */
  readonly randomBytes: string;
  readonly phasesMs: Readonly<Record<string, number>>;
  readonly totalMs: number;
}

export interface DemoResult {
  readonly substrate: SubstrateInfo & { readonly reused: boolean };
  readonly vms: readonly DemoVm[];
  readonly coldBootMs: number;
  /** From the call of activate to its return. */
  readonly activateMs: number;
  /** Cold boot over the median activation without its wait for a free processor. */
  readonly ratio: number;
  readonly unique: boolean;
  readonly reachable: boolean;
}

const BAR_COLUMNS = 44;
const MIB = 1024 * 1024;

const STYLES: Readonly<Record<Phase, { readonly glyph: string; readonly color: Parameters<typeof styleText>[0] }>> = {
  plan: { glyph: "·", color: "gray" },
  wait: { glyph: "·", color: "gray" },
  overlay: { glyph: "▒", color: "yellow" },
  spawn: { glyph: "█", color: "blue" },
  load: { glyph: "▓", color: "cyan" },
  personalise: { glyph: "#", color: "green" },
  verify: { glyph: "=", color: "magenta" },
  resize: { glyph: "^", color: "magenta" },
  files: { glyph: "~", color: "white" },
  link: { glyph: "+", color: "white" },
  run: { glyph: ">", color: "white" },
};

/** The demo's result for a person: who the VMs are, and where the time went. */
export function printResult(result: DemoResult, stream: NodeJS.WriteStream): void {
  const paint = (color: Parameters<typeof styleText>[0], text: string) => styleText(color, text, { stream });
  const say = (line = "") => stream.write(`${line}\n`);
  const { substrate, vms, coldBootMs } = result;
  const { assignedBytes, residentBytes } = substrate.memory;
  const longestMs = Math.max(...vms.map((vm) => vm.totalMs));

  say();
  say(
    `${paint("bold", `substrate ${substrate.name} ${substrate.version}`)}  ${mib(assignedBytes)} MiB assigned, ` +
      `${mib(residentBytes)} MiB in its RAM file, ${substrate.accelerator}${substrate.reused ? ", reused" : ", built now"}`,
  );
  say();
  say(
    paint(
      "bold",
      `${"hostname".padEnd(10)}${"address".padEnd(13)}${"MAC".padEnd(19)}${"machine-id".padEnd(12)}activation`,
    ),
  );
  for (const vm of vms) {
    const identity =
      vm.hostname.padEnd(10) + vm.address.padEnd(13) + vm.mac.padEnd(19) + `${vm.machineId.slice(0, 8)}…`.padEnd(12);
    say(identity + bar(vm, longestMs, paint) + `${Math.round(vm.totalMs)} ms`.padStart(8));
  }
  say();
  say(
    PHASES.filter((phase) => phase !== "plan")
      .map((phase) => `${paint(STYLES[phase].color, STYLES[phase].glyph)} ${phase}`)
      .join("  "),
  );
  say();
  say(
    `${vms.length} VMs in ${Math.round(result.activateMs)} ms. One cold boot of the same disk: ${Math.round(coldBootMs)} ms, ${paint("bold", `${result.ratio.toFixed(1)} times`)} one activation (its wait for a processor not counted).`,
  );
  say(`${verdict(result.unique)} hostname, address, MAC, machine-id, SSH host key and /dev/urandom all differ`);
  say(`${verdict(result.reachable)} every VM reaches every other`);

  function verdict(good: boolean): string {
    return good ? paint("green", "✔") : paint("red", "✘ NOT:");
  }
}

function bar(
  vm: DemoVm,
  longestMs: number,
  paint: (color: Parameters<typeof styleText>[0], text: string) => string,
): string {
  let drawn = 0;
  let elapsedMs = 0;
  let text = "";
  for (const phase of PHASES) {
    elapsedMs += vm.phasesMs[phase] ?? 0;
    // Ends are rounded, not lengths, so that the parts add up to the whole.
    const end = Math.round((elapsedMs / longestMs) * BAR_COLUMNS);
    text += paint(STYLES[phase].color, STYLES[phase].glyph.repeat(end - drawn));
    drawn = end;
  }
  return text + " ".repeat(BAR_COLUMNS - drawn);
}

function mib(bytes: number): string {
  return (bytes / MIB).toFixed(0);
}
