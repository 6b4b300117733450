import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  BadFrameError,
  encodeFrame,
  encodeStart,
  FrameReader,
  type GuestWord,
  MAX_PAYLOAD_BYTES,
  MAX_SESSIONS,
} from "../../../lib/clone/session/frames.ts";
import { guestFrame, TO_HOST } from "../../support/fake-carrier.ts";

interface Said {
  readonly session: number;
  readonly word: GuestWord;
}

/** What is understood of a stream that comes in pieces; the last piece has what the others left. */
function read(stream: Buffer, pieces: readonly number[] = []): Said[] {
  const said: Said[] = [];
  const reader = new FrameReader((session, word) => said.push({ session, word }));
  let at = 0;
  for (const size of pieces) {
    reader.push(stream.subarray(at, at + size));
    at += size;
  }
  reader.push(stream.subarray(at));
  return said;
}

const session = fc.integer({ min: 1, max: MAX_SESSIONS });
const byte = fc.integer({ min: 0, max: 255 });
const bytes = fc.uint8Array({ minLength: 1, maxLength: 300 }).map((array) => Buffer.from(array));
const word: fc.Arbitrary<GuestWord> = fc.oneof(
  fc.constant<GuestWord>({ type: "started" }),
  fc.record({ type: fc.constantFrom("stdout" as const, "stderr" as const), bytes }),
  fc.record({ type: fc.constant("stdinCredit" as const), bytes: fc.nat(0xffff_ffff) }),
  byte.map((exitCode): GuestWord => ({ type: "exited", exitCode, signal: null })),
  byte.map((signal): GuestWord => ({ type: "exited", exitCode: null, signal })),
  fc.record({
    type: fc.constant("failed" as const),
    step: fc.constantFrom("program" as const, "folder" as const, "resources" as const),
    errno: byte,
  }),
);

function encodeWord({ session: number, word: said }: Said): Buffer {
  return guestFrame(TO_HOST[said.type], number, payloadOf(said));
}

function payloadOf(said: GuestWord): Uint8Array {
  switch (said.type) {
    case "started":
      return new Uint8Array();
    case "stdout":
    case "stderr":
      return said.bytes;
    case "stdinCredit": {
      const payload = Buffer.alloc(4);
      payload.writeUInt32BE(said.bytes);
      return payload;
    }
    case "exited":
      return said.signal === null ? Buffer.of(0, said.exitCode ?? 0) : Buffer.of(1, said.signal);
    case "failed":
      return Buffer.of(["program", "folder", "resources"].indexOf(said.step) + 1, said.errno);
  }
}

describe("FrameReader", () => {
  it("understands what was said, in whatever pieces it comes", () => {
    fc.assert(
      fc.property(fc.array(fc.record({ session, word })), fc.array(fc.nat(40)), (said, pieces) => {
        expect(read(Buffer.concat(said.map(encodeWord)), pieces)).toEqual(said);
      }),
    );
  });

  it("says of any bytes that they are frames, or that they are none; it never breaks otherwise", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.array(fc.nat(20)), (noise, pieces) => {
        try {
          for (const said of read(Buffer.from(noise), pieces)) expect(said.session).toBeLessThanOrEqual(MAX_SESSIONS);
        } catch (error) {
          expect(error).toBeInstanceOf(BadFrameError);
        }
      }),
    );
  });

  it.each<[string, Buffer]>([
    ["a type that there is not", guestFrame(99, 1)],
    ["a type of the other direction", guestFrame(2, 1, Buffer.of(1))],
    ["no session", guestFrame(TO_HOST.started, 0)],
    ["a session too many", guestFrame(TO_HOST.started, MAX_SESSIONS + 1)],
    ["a payload that is too long, before it has come", Buffer.from([TO_HOST.stdout, 0, 1, 0, 1, 0, 1])],
    ["a payload without end", Buffer.from([TO_HOST.stdout, 0, 1, 0xff, 0xff, 0xff, 0xff])],
    ["output of no bytes", guestFrame(TO_HOST.stdout, 1)],
    ["a start with a payload", guestFrame(TO_HOST.started, 1, Buffer.of(0))],
    ["a credit that is cut off", guestFrame(TO_HOST.stdinCredit, 1, Buffer.of(0, 0, 1))],
    ["an exit of a third kind", guestFrame(TO_HOST.exited, 1, Buffer.of(2, 0))],
    ["an unknown failure", guestFrame(TO_HOST.failed, 1, Buffer.of(9, 2))],
  ])("refuses %s", (_, stream) => {
    expect(() => read(stream)).toThrow(BadFrameError);
    expect(() => read(stream, stream.map(() => 1) as unknown as number[])).toThrow(BadFrameError);
  });

  it("takes a payload byte by byte in a time that grows with its length only", () => {
    const stream = guestFrame(TO_HOST.stdout, 1, Buffer.alloc(MAX_PAYLOAD_BYTES, 7));
    const said = read(
      stream,
      Array.from(stream, () => 1),
    );
    expect(said).toEqual([{ session: 1, word: { type: "stdout", bytes: Buffer.alloc(MAX_PAYLOAD_BYTES, 7) } }]);
  });
});

describe("encodeStart", () => {
  it("refuses what does not fit into one frame", () => {
    const start = { tty: undefined, folder: "/", argv: ["x".repeat(MAX_PAYLOAD_BYTES)], env: {} };
    expect(() => encodeStart(start)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(() => encodeFrame("stdin", 1, Buffer.alloc(MAX_PAYLOAD_BYTES + 1))).toThrow(RangeError);
  });

  it("has terminal, folder, arguments and variables as the guest reads them", () => {
    const tty = { columns: 80, rows: 24 };
    const start = encodeStart({ tty, folder: "/root", argv: ["sh", "-l"], env: { A: "1=2" } });
    expect(start.subarray(0, 9)).toEqual(Buffer.from([1, 0, 80, 0, 24, 0, 2, 0, 1]));
    expect(start.subarray(9).toString()).toBe("/root\0sh\0-l\0A=1=2\0");
  });
});
