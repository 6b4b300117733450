import { z } from "zod";

/** An hour: longer than any service takes to start, even under TCG. */
const MAX_READY_TIMEOUT_MS = 3_600_000;
const MAX_PROBES = 32;
const MAX_TEXT_CHARS = 1024;

const timeoutMs = z.int().min(1).max(MAX_READY_TIMEOUT_MS).optional();
const port = z.int().min(1).max(65_535);
/** What reaches the guest as an argument: no control characters, and not an option. */
const text = z
  .string()
  .min(1)
  .max(MAX_TEXT_CHARS)
  .regex(/^[^\p{Cc}]*$/u, "expected text without control characters");
const guestPath = text.regex(/^\//, "expected an absolute path");

const simpleProbes = [
  /** The guest agent answers. */
  z.strictObject({ probe: z.literal("agent"), timeoutMs }),
  /** The resident helper answers, and speaks this library's protocol. */
  z.strictObject({ probe: z.literal("helper"), timeoutMs }),
  /** A TCP socket in state LISTEN inside the guest. */
  z.strictObject({ probe: z.literal("port"), port, timeoutMs }),
  /** A systemd unit is active; one that has failed is an error at once. */
  z.strictObject({
    probe: z.literal("unit"),
    unit: text.regex(/^[\w@:.\\-]+\.[a-z]+$/, 'expected a unit with its type, e.g. "nginx.service"'),
    timeoutMs,
  }),
  /** systemd has started all that it is to start; a unit that has failed is an error. */
  z.strictObject({ probe: z.literal("system"), timeoutMs }),
  /** A program ends with status 0. It is run again until it does. */
  z.strictObject({ probe: z.literal("command"), argv: z.array(text).min(1).max(MAX_PROBES), timeoutMs }),
  /** A GET of the guest's own address 127.0.0.1 is answered with the status. */
  z.strictObject({
    probe: z.literal("http"),
    port: port.default(80),
    path: text.regex(/^\/[\x21-\x2b\x2d-\x7e]*$/, "expected a path without spaces and commas").default("/"),
    status: z.int().min(100).max(599).default(200),
    timeoutMs,
  }),
  /** A line of a file contains a text. */
  z.strictObject({ probe: z.literal("log"), file: guestPath, contains: text, timeoutMs }),
] as const;

type SimpleProbe = z.output<(typeof simpleProbes)[number]>;

/** What must be true of a booted guest before it may be frozen; each within its own deadline. */
export type ReadyProbe =
  | SimpleProbe
  | { readonly probe: "all"; readonly of: readonly ReadyProbe[]; readonly timeoutMs?: number | undefined }
  | { readonly probe: "any"; readonly of: readonly ReadyProbe[]; readonly timeoutMs?: number | undefined };

export type SimpleReadyProbe = SimpleProbe;

export const probeSchema: z.ZodType<ReadyProbe> = z.lazy(() =>
  z.discriminatedUnion("probe", [
    ...simpleProbes,
    z.strictObject({ probe: z.literal("all"), of: z.array(probeSchema).min(1).max(MAX_PROBES), timeoutMs }),
    z.strictObject({ probe: z.literal("any"), of: z.array(probeSchema).min(1).max(MAX_PROBES), timeoutMs }),
  ]),
);

/** For progress and errors: "port 22", "unit nginx.service". */
export function probeName(probe: ReadyProbe): string {
  switch (probe.probe) {
    case "agent":
    case "helper":
    case "system":
      return probe.probe;
    case "port":
      return `port ${probe.port}`;
    case "unit":
      return `unit ${probe.unit}`;
    case "command":
      return `command ${probe.argv.join(" ")}`;
    case "http":
      return `http ${probe.port}${probe.path}`;
    case "log":
      return `log ${probe.file}`;
    case "all":
    case "any":
      return `${probe.probe} of (${probe.of.map(probeName).join(", ")})`;
  }
}
