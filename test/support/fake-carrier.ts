import { OUTPUT_WINDOW_BYTES, STDIN_WINDOW_BYTES, TO_GUEST } from "../../lib/clone/session/frames.ts";
import type { FakeScript } from "./fake-qemu-script.ts";

export const TO_HOST = { started: 16, stdout: 17, stderr: 18, stdinCredit: 19, exited: 20, failed: 21 } as const;

const SIGHUP = 1;
const ENOENT = 2;

/** A frame of the guest's, also one that no guest of ours would send. */
export function guestFrame(type: number, session: number, payload: Uint8Array = new Uint8Array()): Buffer {
  const head = Buffer.alloc(7);
  head.writeUInt8(type, 0);
  head.writeUInt16BE(session, 1);
  head.writeUInt32BE(payload.length, 3);
  return Buffer.concat([head, payload]);
}

interface FakeProgram {
  readonly argv: readonly string[];
  readonly env: readonly string[];
  readonly folder: string;
  /** What it may still print. */
  credit: number;
}

/** The guest's end of a VM's sessions, with the few programs that tests run there. */
export class FakeCarrier {
  readonly #send: (bytes: Buffer) => void;
  readonly #script: FakeScript;
  readonly #programs = new Map<number, FakeProgram>();
  #rest = Buffer.alloc(0);

  constructor(send: (bytes: Buffer) => void, script: FakeScript) {
    this.#send = send;
    this.#script = script;
  }

  take(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 7) {
      const end = 7 + this.#rest.readUInt32BE(3);
      if (this.#rest.length < end) return;
      const frame = this.#rest.subarray(0, end);
      this.#rest = this.#rest.subarray(end);
      this.#takeFrame(frame.readUInt8(0), frame.readUInt16BE(1), frame.subarray(7));
    }
  }

  #say(type: keyof typeof TO_HOST, session: number, payload: Uint8Array = new Uint8Array()): void {
    this.#send(guestFrame(TO_HOST[type], session, payload));
  }

  #print(session: number, text: string | Uint8Array, output: "stdout" | "stderr" = "stdout"): void {
    const bytes = Buffer.from(text);
    if (bytes.length > 0) this.#say(output, session, bytes);
  }

  #end(session: number, kind: 0 | 1, value: number): void {
    if (!this.#programs.delete(session)) return;
    this.#say("exited", session, Buffer.of(kind, value));
  }

  #takeFrame(type: number, session: number, payload: Buffer): void {
    const program = this.#programs.get(session);
    switch (type) {
      case TO_GUEST.open:
        this.#open(session, payload);
        return;
      case TO_GUEST.stdin:
        if (program?.argv[0] !== "cat") return;
        this.#print(session, payload);
        this.#say("stdinCredit", session, bytes32(payload.length));
        return;
      case TO_GUEST.stdinEnd:
        if (program?.argv[0] === "cat") this.#end(session, 0, 0);
        return;
      case TO_GUEST.resize:
        this.#print(session, `${payload.readUInt16BE(2)} ${payload.readUInt16BE(0)}\n`);
        return;
      case TO_GUEST.signal:
        if (program !== undefined) this.#end(session, 1, payload.readUInt8(0));
        return;
      case TO_GUEST.credit:
        if (program === undefined) return;
        program.credit += payload.readUInt32BE(1);
        if (program.argv[0] === "flood") this.#flood(session, program);
        return;
      case TO_GUEST.close:
        if (program?.argv[0] !== "stubborn") this.#end(session, 1, SIGHUP);
    }
  }

  #open(session: number, payload: Buffer): void {
    const { carrier } = this.#script;
    if (carrier === "deaf") return;
    if (carrier === "garbage") {
      this.#send(Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"));
      return;
    }
    const [folder = "", ...texts] = payload.subarray(9).toString().split("\0");
    const argc = payload.readUInt16BE(5);
    const argv = texts.slice(0, argc);
    const program = { argv, env: texts.slice(argc, -1), folder, credit: OUTPUT_WINDOW_BYTES };
    if (argv[0] === "nope") {
      this.#say("failed", session, Buffer.of(1, ENOENT));
      return;
    }
    this.#programs.set(session, program);
    this.#say("started", session);
    this.#run(session, program);
  }

  #run(session: number, program: FakeProgram): void {
    const { argv, env, folder } = program;
    switch (argv[0]) {
      case "true":
        this.#end(session, 0, 0);
        return;
      case "exit":
        this.#end(session, 0, Number(argv[1]));
        return;
      case "print":
        this.#print(session, argv[1] ?? "");
        this.#print(session, argv[2] ?? "", "stderr");
        this.#end(session, 0, 0);
        return;
      case "env":
        this.#print(session, [folder, ...env].join("\n"));
        this.#end(session, 0, 0);
        return;
      case "flood":
        this.#flood(session, program);
        return;
      case "overrun":
        for (let i = 0; i < (3 * OUTPUT_WINDOW_BYTES) / 32_768; i++) this.#print(session, Buffer.alloc(32_768));
        return;
      case "overcredit":
        this.#say("stdinCredit", session, bytes32(STDIN_WINDOW_BYTES));
        return;
      case "stranger":
        this.#print(16, "word of a session that there is not");
        return;
      case "twice":
        this.#end(session, 0, 0);
        this.#say("exited", session, Buffer.of(0, 0));
    }
  }

  /** Prints for as long as somebody reads it. */
  #flood(session: number, program: FakeProgram): void {
    while (program.credit > 0) {
      const bytes = Buffer.alloc(Math.min(program.credit, 32_768), "x");
      program.credit -= bytes.length;
      this.#print(session, bytes);
    }
  }
}

function bytes32(value: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value);
  return payload;
}
