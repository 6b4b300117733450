import { type GuestAgent, guestExec } from "../../qmp/index.ts";
import type { StepOptions } from "./step-options.ts";

/** A service that remembers who it was when it started. */
interface Service {
  readonly unit: string;
  /** What makes it look again. */
  readonly tell: readonly string[];
}

/** Services that must be told after a claim, where they run. A new one is one entry. */
const SERVICES: readonly Service[] = [
  // It reads its host keys at its start; with ssh.socket it starts for each connection, and needs no telling.
  { unit: "ssh.service", tell: ["systemctl", "reload", "ssh.service"] },
  { unit: "sshd.service", tell: ["systemctl", "reload", "sshd.service"] },
  { unit: "systemd-networkd.service", tell: ["networkctl", "reload"] },
  // It answers for its own name.
  { unit: "systemd-resolved.service", tell: ["systemctl", "restart", "systemd-resolved.service"] },
  { unit: "avahi-daemon.service", tell: ["systemctl", "restart", "avahi-daemon.service"] },
];

/** What has to be run in a clone that was given its identity, by the services that run in this guest. */
export async function servicesToTell(agent: GuestAgent, options: StepOptions): Promise<(readonly string[])[]> {
  const units = SERVICES.map(({ unit }) => unit);
  const { stdout, exitCode } = await guestExec(agent, ["systemctl", "is-active", "--", ...units], options).catch(
    () => NONE,
  );
  if (exitCode === null) return [];
  const states = Buffer.from(stdout).toString("latin1").trim().split("\n");
  const running = SERVICES.filter((_, i) => states[i] === "active");
  const said = running.map(({ tell }) => tell);
  return said.filter((tell, i) => said.findIndex((other) => other.join(" ") === tell.join(" ")) === i);
}

/** A guest without systemd has none of these. */
const NONE = { stdout: new Uint8Array(), exitCode: null };
