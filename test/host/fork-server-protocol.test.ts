import { describe, expect, it } from "vitest";
import {
  AnswerReader,
  forkRequest,
  signalRequest,
  startRequest,
  zygoteRequest,
} from "../../lib/host/fork-server-protocol.ts";

const REQUEST = { binary: "qemu", argv: ["-S", "é"], logFile: "/log", inheritFiles: ["/state"] };

function words(...values: readonly number[]): Buffer {
  return Buffer.from(new Uint32Array(values).buffer);
}

describe("a request", () => {
  it("is five words, and the strings that they announce", () => {
    const strings = Buffer.from("/log\0/state\0-S\0é\0");
    expect(startRequest(7, REQUEST, 100)).toEqual(Buffer.concat([words(1, 7, 1, 2, strings.length), strings]));
    expect(signalRequest(4321, "SIGKILL")).toEqual(words(2, 4321, 9, 0, 0));
  });

  it("for a zygote has its place, and for a fork who it is, before the arguments", () => {
    const place = { dir: "/vms/a", sockets: "/run/a" };
    const zygote = Buffer.from("/log\0/vms/a\0/run/a\0/state\0-S\0é\0");
    expect(zygoteRequest(7, REQUEST, place, 100)).toEqual(Buffer.concat([words(3, 7, 1, 2, zygote.length), zygote]));
    const order = { ...place, logFile: "/log", name: "vm", uuid: "u", argv: ["-S"] };
    const fork = Buffer.from("/log\0/vms/a\0/run/a\0vm\0u\0-S\0");
    expect(forkRequest(8, 4321, order, 100)).toEqual(Buffer.concat([words(4, 8, 4321, 1, fork.length), fork]));
    expect(() => forkRequest(8, 4321, { ...order, name: "a\0b" }, 100)).toThrow(/NUL/);
  });

  it("takes exactly as many bytes of arguments as there is room for", () => {
    expect(startRequest(1, REQUEST, 6).length).toBeGreaterThan(0);
    expect(() => startRequest(1, REQUEST, 5)).toThrow(/arguments of 6 bytes, at most 5 fit/);
  });

  it.each([
    ["a NUL", { logFile: "/log\0/etc/passwd" }],
    ["too many arguments", { argv: Array.from({ length: 1025 }, () => "a") }],
    ["too many files", { inheritFiles: Array.from({ length: 17 }, () => "a") }],
    ["too long files", { inheritFiles: ["a".repeat(70_000)] }],
  ])("with %s is refused", (_, change) => {
    const make = () => startRequest(1, { ...REQUEST, ...change }, 1e6);
    expect(make).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});

describe("AnswerReader", () => {
  const stream = Buffer.concat([
    words(1, 1, 16_384, 0),
    words(2, 5, 0, 11),
    words(3, 77, 7 << 8, 0),
    words(3, 78, 9, 0),
    words(3, 79, 11 | 0x80, 0), // with a core dump
    words(9, 0, 0, 0),
  ]);
  const answers = [
    { kind: "ready", version: 1, argumentRoom: 16_384 },
    { kind: "started", request: 5, pid: 0, errno: 11 },
    { kind: "ended", pid: 77, cause: { code: 7, signal: null } },
    { kind: "ended", pid: 78, cause: { code: null, signal: "SIGKILL" } },
    { kind: "ended", pid: 79, cause: { code: null, signal: "SIGSEGV" } },
    undefined,
  ];

  it.each([1, 3, 16, 17, 96])("reads answers that come %i bytes at a time", (size) => {
    const reader = new AnswerReader();
    const read = [];
    for (let at = 0; at < stream.length; at += size) read.push(...reader.read(stream.subarray(at, at + size)));
    expect(read).toEqual(answers);
  });
});
