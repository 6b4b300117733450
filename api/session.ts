import { z } from "zod";
import { problemSchema } from "./problem.ts";

/**
 * A program in a VM over a WebSocket. The first message of the client is text, a `SessionStart` in JSON. Later ones of either side
 * are binary: one byte that says what follows, then bytes; text is a message in JSON.
 */
export const SESSION_CHANNELS = { stdin: 0, stdout: 1, stderr: 2 } as const;

/**
 * How many bytes of each may be under way: at first, and after that as many as the reader gives credit for. So nothing unread
 * grows, and a signal is never behind input that nobody reads.
 */
export const SESSION_WINDOW_BYTES = { stdin: 65_536, stdout: 262_144, stderr: 262_144 } as const;

const sizeSchema = z.strictObject({ columns: z.int().min(1).max(10_000), rows: z.int().min(1).max(10_000) });
const credit = z.int().min(1).max(SESSION_WINDOW_BYTES.stdout);

export const sessionStartSchema = z.strictObject({
  argv: z.array(z.string()).min(1),
  env: z.record(z.string(), z.string()).optional(),
  cwd: z.string().optional(),
  tty: sizeSchema.extend({ term: z.string().max(64).optional() }).optional(),
  timeoutMs: z.int().min(1).optional().describe("For the start."),
});
export type SessionStart = z.input<typeof sessionStartSchema>;

/** What a client says after the start: its input ended, the program is to be ended, its window changed, a signal, credit for output that it has read. */
export const sessionOrderSchema = z.union([
  z.strictObject({ end: z.literal(true) }),
  z.strictObject({ close: z.literal(true) }),
  z.strictObject({ resize: sizeSchema }),
  z.strictObject({ signal: z.int().min(1).max(64) }),
  z.strictObject({ credit: z.strictObject({ stdout: credit.optional(), stderr: credit.optional() }) }),
]);
export type SessionOrder = z.input<typeof sessionOrderSchema>;

/** What a client is told: the program runs; it ended, all output before; why there is none; credit for input. */
const sessionReportSchema = z.union([
  z.strictObject({ started: z.literal(true) }),
  z.strictObject({ exited: z.strictObject({ exitCode: z.int().nullable(), signal: z.int().nullable() }) }),
  z.strictObject({ error: problemSchema }),
  z.strictObject({ credit: z.strictObject({ stdin: credit }) }),
]);
export type SessionReport = z.infer<typeof sessionReportSchema>;
