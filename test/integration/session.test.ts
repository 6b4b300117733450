import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { Paths } from "../../lib/host/index.ts";
import type { Session, Vm } from "../../lib/index.ts";
import { eventually } from "../support/eventually.ts";
import { output } from "../support/inside.ts";
import { labDirectories, openLab } from "../support/lab.ts";
import { activateOne } from "../support/vms.ts";

const SPEC = { substrate: "mini" };
const TTY = { columns: 80, rows: 24 };

/** By which busybox's shell asks a terminal where its cursor is, behind each prompt. */
const WHERE = "\x1b[6n";

/** Resolves with what a stream has said when that matches. */
async function says(stream: Readable, pattern: RegExp): Promise<string> {
  let heard = "";
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    heard = (heard + String(chunk)).replaceAll(WHERE, "");
    if (pattern.test(heard)) return heard;
  }
  throw new Error(`ended with ${JSON.stringify(heard)}`);
}

/** Neither the port nor what serves it is in the guest or on the host. */
async function expectNoSessions(vm: Vm): Promise<void> {
  expect(existsSync(new Paths(labDirectories()).vm(vm.id).stream)).toBe(false);
  expect(await output(vm, "sh", "-c", "cat /sys/class/virtio-ports/*/name")).not.toContain("session");
  await eventually(async () => {
    // Their arguments are empty when they have ended, and init has not looked yet.
    expect(await output(vm, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")).not.toContain("substrate-session-");
  });
}

/** How many processes of the guest are `sleep`. */
async function sleeping(vm: Vm): Promise<number> {
  return Number(await output(vm, "sh", "-c", "cat /proc/[0-9]*/comm 2> /dev/null | grep -cx sleep; :"));
}

const CARRIER = "grep -l ^/run/.substrate-session- /proc/[0-9]*/cmdline | cut -d/ -f3";

async function ended(session: Session) {
  const [stdout, stderr, exit] = await Promise.all([text(session.stdout), text(session.stderr), session.exited]);
  return { stdout, stderr, ...exit };
}

test("a session streams input and output of a program, and tells how it ended", async () => {
  await using lab = await openLab();
  const vm = await activateOne(lab.pool, { ...SPEC, env: { MODE: "test" } });
  const session = await vm.session(["sh", "-c", 'while read line; do echo "$MODE: $line"; done; echo bad >&2; exit 7']);
  session.stdin.write("first\n");
  expect(await says(session.stdout, /\n/)).toBe("test: first\n"); // before there is more to read
  session.stdin.end("second\n");
  expect(await ended(session)).toEqual({ stdout: "test: second\n", stderr: "bad\n", exitCode: 7, signal: null });
  expect(await ended(await vm.session(["pwd"], { cwd: "/etc" }))).toMatchObject({ stdout: "/etc\n", exitCode: 0 });
  const nothing = { code: "GUEST_COMMAND_FAILED", message: expect.stringContaining("no such file or directory") };
  await expect(vm.session(["no-such-program"])).rejects.toMatchObject(nothing);
  await expect(vm.session(["true"], { cwd: "/nowhere" })).rejects.toMatchObject(nothing);
  await expectNoSessions(vm);
});

test("20 MiB of any bytes go through a program and back as they were", async () => {
  await using lab = await openLab();
  const vm = await activateOne(lab.pool, SPEC);
  const session = await vm.session(["cat"]);
  const bytes = randomBytes(20 * 2 ** 20);
  session.stdin.end(bytes);
  const hash = createHash("sha256");
  for await (const chunk of session.stdout) hash.update(chunk as Buffer);
  expect(hash.digest("hex")).toBe(createHash("sha256").update(bytes).digest("hex"));
  expect(await session.exited).toEqual({ exitCode: 0, signal: null });
});

test("what nobody reads holds back its program, and nothing else", async () => {
  await using lab = await openLab();
  const vm = await activateOne(lab.pool, SPEC);
  await using flood = await vm.session(["sh", "-c", "echo begun >&2; yes"]);
  await says(flood.stderr, /begun/);
  await using deaf = await vm.session(["sleep", "100"]);
  deaf.stdin.write(Buffer.alloc(2 ** 20)); // it reads nothing of this, and gets the signal all the same
  expect(await ended(await vm.session(["echo", "beside"]))).toMatchObject({ stdout: "beside\n" });
  deaf.kill("SIGTERM");
  expect(await deaf.exited).toEqual({ exitCode: null, signal: 15 });
  expect(flood.stdout.readableLength).toBeLessThan(2 ** 20);
});

test("a terminal: its size, Ctrl-C, the shell's status", async () => {
  await using lab = await openLab();
  const vm = await activateOne(lab.pool, SPEC);
  await using session = await vm.session(["sh", "-l"], { tty: TTY });
  await says(session.stdout, /# $/);
  session.stdin.write("stty size; echo $TERM:$HOME:$PWD; tty\n");
  expect(await says(session.stdout, /pts.*# $/s)).toMatch(/24 80\r\nxterm-256color:\/root:\/root\r\n\/dev\/pts\/0\r\n/);
  session.resize({ columns: 132, rows: 50 });
  session.stdin.write("stty size\n");
  expect(await says(session.stdout, /size.*# $/s)).toContain("50 132\r\n");
  session.stdin.write("sleep 100\n");
  await says(session.stdout, /sleep 100\r\n/);
  await eventually(async () => expect(await sleeping(vm)).toBe(1));
  session.stdin.write("\x03");
  await says(session.stdout, /# $/);
  session.stdin.write("echo status $?\n");
  session.stdin.end(); // Ctrl-D
  expect(await says(session.stdout, /status \d+/)).toContain("status 130");
  expect(await session.exited).toMatchObject({ signal: null });
});

test("the end of a terminal's input reaches a shell that was busy when it came", async () => {
  await using lab = await openLab();
  const vm = await activateOne(lab.pool, SPEC);
  await using session = await vm.session(["sh"], { tty: TTY });
  await says(session.stdout, /# $/);
  session.stdin.write("sleep 1; exit_code() { return 5; }; exit_code\n");
  await eventually(async () => expect(await sleeping(vm)).toBe(1));
  session.stdin.end(); // the terminal is not the shell's while another program has it
  expect(await session.exited).toEqual({ exitCode: 5, signal: null });
});

test("a signal reaches what the program started; ending a session leaves none of it", async () => {
  await using lab = await openLab();
  const vm = await activateOne(lab.pool, SPEC);
  const trapping = await vm.session([
    "sh",
    "-c",
    "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done",
  ]);
  await says(trapping.stdout, /ready/);
  trapping.kill("SIGINT");
  expect(await ended(trapping)).toEqual({ stdout: "caught\n", stderr: "", exitCode: 3, signal: null });
  const stubborn = await vm.session(["sh", "-c", "trap '' HUP TERM; sleep 100 & echo ready; wait; sleep 100"]);
  await says(stubborn.stdout, /ready/);
  await stubborn[Symbol.asyncDispose]();
  expect(await stubborn.exited).toEqual({ exitCode: null, signal: 9 });
  await eventually(async () => expect(await sleeping(vm)).toBe(0));
  await expectNoSessions(vm);
});

test("a background process does not keep a session open", async () => {
  await using lab = await openLab();
  const vm = await activateOne(lab.pool, SPEC);
  const session = await vm.session(["sh", "-c", "sleep 1000 & dd if=/dev/zero bs=1k count=60 2> /dev/null"]);
  const { stdout, exitCode } = await ended(session);
  expect([stdout.length, exitCode]).toEqual([60 * 1024, 0]);
  expect(await sleeping(vm)).toBe(1); // it was left to itself
});

test("sessions end with their VM, and when they are aborted", async () => {
  await using lab = await openLab();
  const vm = await activateOne(lab.pool, SPEC);
  const abort = new AbortController();
  const aborted = await vm.session(["sleep", "100"], { signal: abort.signal });
  abort.abort();
  await expect(aborted.exited).rejects.toMatchObject({ code: "ABORTED" });
  await aborted[Symbol.asyncDispose]();
  await eventually(async () => expect(await sleeping(vm)).toBe(0));
  await expect(vm.session(["true"], { signal: AbortSignal.timeout(20) })).rejects.toMatchObject({ code: "ABORTED" });
  await expectNoSessions(vm);
  const last = await vm.session(["sleep", "100"]);
  await vm.release();
  await expect(last.exited).rejects.toMatchObject({ code: "VM_GONE" });
});

test("the guest's program is killed: its sessions fail, and the next one works", async () => {
  await using lab = await openLab();
  const vm = await activateOne(lab.pool, SPEC);
  const session = await vm.session(["sleep", "100"]);
  await output(vm, "sh", "-c", `kill -9 $(${CARRIER})`);
  await expect(session.exited).rejects.toMatchObject({ code: "SESSION_FAILED" });
  await session[Symbol.asyncDispose]();
  expect(await ended(await vm.session(["echo", "again"]))).toMatchObject({ stdout: "again\n" });
});

test("a VM with a session is not forked; after it is, and its forks have sessions", async () => {
  await using lab = await openLab();
  const vm = await activateOne(lab.pool, SPEC);
  const session = await vm.session(["cat"]);
  await expect(vm.fork(1)).rejects.toMatchObject({ code: "FORK_REFUSED" });
  await vm.park();
  session.stdin.end("while it was parked");
  await sleep(100);
  await vm.resume();
  expect(await ended(session)).toMatchObject({ stdout: "while it was parked", exitCode: 0 });
  const [fork] = await vm.fork(1);
  if (fork === undefined) throw new Error("no fork");
  for (const one of [vm, fork]) {
    expect(await ended(await one.session(["hostname"]))).toMatchObject({ stdout: `${one.hostname}\n` });
  }
});

test("what an owner leaves that is killed in the middle of a session is taken away by the next", async () => {
  const directories = labDirectories();
  const script = `
    import { Pool } from ${JSON.stringify(new URL("../../lib/index.ts", import.meta.url).href)};
    const pool = await Pool.open(${JSON.stringify(directories)});
    const [vm] = await pool.activate(1, { substrate: "mini" });
    await vm.session(["sleep", "100"]);
    console.log("ready");
    setInterval(() => {}, 1000);
  `;
  const owner = spawn(process.execPath, ["--input-type=module-typescript", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(owner.stdout, "data");
  owner.kill("SIGKILL");
  await once(owner, "exit");
  await using lab = await openLab();
  const [vm] = lab.pool.vms;
  if (vm === undefined) throw new Error("no VM");
  await expectNoSessions(vm);
  await eventually(async () => expect(await sleeping(vm)).toBe(0));
  expect(await vm.fork(1)).toHaveLength(1);
  expect(await ended(await vm.session(["hostname"]))).toMatchObject({ stdout: `${vm.hostname}\n` });
});
