import { z } from "zod";

/**
 * A program in a VM over a WebSocket. The first message of the client is text, a `SessionStart` in JSON. Later ones of either side
 * are binary: one byte that says what follows, then bytes; text is a message in JSON.
 */
export const SESSION_CHANNELS = { stdin: 0, stdout: 1, stderr: 2 } as const;

const sizeSchema = z.strictObject({ columns: z.int().min(1).max(65535), rows: z.int().min(1).max(65535) });

export const sessionStartSchema = z.strictObject({
  argv: z.array(z.string()).min(1),
  env: z.record(z.string(), z.string()).optional(),
  cwd: z.string().optional(),
  tty: sizeSchema.extend({ term: z.string().max(64).optional() }).optional(),
  timeoutMs: z.int().min(1).optional().describe("For the start."),
});
export type SessionStart = z.input<typeof sessionStartSchema>;

/** What a client says after the start: its input ended, its window changed, a signal for the program. */
export const sessionOrderSchema = z.union([
  z.strictObject({ end: z.literal(true) }),
  z.strictObject({ resize: sizeSchema }),
  z.strictObject({ signal: z.string().max(16) }),
]);
export type SessionOrder = z.input<typeof sessionOrderSchema>;

/** What a client is told: the program runs; it ended; or why there is none, as a problem. */
export const sessionReportSchema = z.union([
  z.strictObject({ started: z.literal(true) }),
  z.strictObject({ exited: z.strictObject({ exitCode: z.int().nullable(), signal: z.int().nullable() }) }),
  z.strictObject({ error: z.unknown() }),
]);
