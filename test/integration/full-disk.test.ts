import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { qemuArgv } from "../../lib/host/index.ts";
import { runTool } from "../../lib/host/run-tool.ts";
import { QmpClient } from "../../lib/qmp/index.ts";
import { eventually } from "../support/eventually.ts";

const MIB = 2 ** 20;
const DISK_MIB = 64;
const ENOSPC = 28;
const DEBUG_PORT = 0xe9;

/**
 * A boot sector that reads its disk, 4 KiB at every 64 KiB, and says "R" or, when that failed, "E" on the debug port:
 * `mov si,0x7c40; mov ah,0x42; int 0x13; mov al,'R'; jnc +2; mov al,'E'; out 0xe9,al; add dword [0x7c48],128; jmp`.
 */
const READER = Buffer.alloc(512);
READER.write("31c08ed88ed0bc007cfbbe407cb442cd13b0527302b045e6e9668106487c80000000ebe6", 0, "hex");
READER.write("10000800008000000008000000000000", 0x40, "hex"); // the packet of INT 13h, AH=42h: 8 sectors from 2048 on
READER.writeUInt16LE(0xaa55, 510);

/** A disk on another one on a third, of which the upper has no room for anything; what is read comes from the middle. */
async function makeDisks(dir: string) {
  const file = (name: string) => join(dir, name);
  const create = async (name: string, below: string) =>
    runTool(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", file(below), file(name)], {
      timeoutMs: 10_000,
    });
  await writeFile(file("boot"), READER);
  await runTool(["qemu-img", "convert", "-O", "qcow2", "-f", "raw", file("boot"), file("base")], { timeoutMs: 10_000 });
  await runTool(["qemu-img", "resize", "-q", "-f", "qcow2", file("base"), `${DISK_MIB}M`], { timeoutMs: 10_000 });
  await create("middle", "base");
  const write = `write -q -P 7 ${MIB} ${(DISK_MIB - 2) * MIB}`;
  await runTool(["qemu-io", "-f", "qcow2", "-c", write, file("middle")], { timeoutMs: 30_000 });
  await create("top", "middle");
  const image = (name: string) => ({ driver: "file", filename: file(name) });
  const fault = { event: "none", iotype: "write", errno: ENOSPC, once: false };
  const base = { driver: "qcow2", "node-name": "base", file: image("base") };
  const middle = { driver: "qcow2", "node-name": "middle", file: image("middle"), backing: base };
  const full = { driver: "blkdebug", image: image("top"), "inject-error": [fault] };
  return { driver: "qcow2", "node-name": "disk0", file: full, backing: middle };
}

async function startReader(dir: string, disk: object) {
  const sockets = { qmp: join(dir, "q"), agent: join(dir, "a"), helper: join(dir, "h") };
  const ram = join(dir, "ram");
  await using file = await open(ram, "w");
  await file.truncate(DISK_MIB * MIB);
  const argv = qemuArgv({
    id: "reader",
    uuid: "00000000-0000-0000-0000-000000000001",
    machine: "pc-i440fx-7.2",
    accelerator: "tcg",
    cpuModel: "qemu64",
    cpus: 1,
    memory: { file: ram, sizeMiB: DISK_MIB, share: true },
    disk: { file: join(dir, "top") },
    sockets,
  }).map((argument, i, all) => (all[i - 1] === "-blockdev" ? JSON.stringify(disk) : argument));
  const said = join(dir, "said");
  const debug = [
    "-chardev",
    `file,id=debug,path=${said}`,
    "-device",
    `isa-debugcon,chardev=debug,iobase=${DEBUG_PORT}`,
  ];
  const qemu = spawn("qemu-system-x86_64", [...argv, ...debug, "-S"], { stdio: "ignore" });
  const exited = once(qemu, "exit");
  return {
    qmp: sockets.qmp,
    said: () => readFile(said, "latin1"),
    [Symbol.asyncDispose]: async () => {
      qemu.kill("SIGKILL");
      await exited;
    },
  };
}

it("a guest whose reads find the host's disk full while its disk is made flat is stopped, goes on when told to, and has seen no error", async () => {
  await using undo = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), "full-disk-"));
  undo.defer(() => rm(dir, { recursive: true, force: true }));
  const reader = undo.use(await startReader(dir, await makeDisks(dir)));
  const qmp = undo.use(await QmpClient.connect(reader.qmp, { retryUntilPresent: true }));
  const status = async () => (await qmp.execute("query-status", {})).status;
  const job = { device: "disk0", "job-id": "flatten0", "base-node": "base", "backing-file": join(dir, "base") };
  // It stays, though it can copy nothing: in life it ends a moment later, and that moment is meant.
  await qmp.execute("block-stream", { ...job, speed: 1, "on-error": "ignore", "auto-dismiss": true });
  await qmp.execute("cont", {});
  await eventually(async () => expect(await status()).toBe("io-error"), 30_000);
  await qmp.execute("cont", {});
  await eventually(async () => expect(await status()).toBe("io-error"), 30_000);
  expect(await reader.said()).not.toContain("E");
  await qmp.execute("block-job-cancel", { device: "flatten0" });
  await eventually(async () => expect(await qmp.execute("query-block-jobs", {})).toEqual([]));
  await qmp.execute("cont", {});
  await eventually(async () => expect(await reader.said()).toMatch(/^R{50}/), 30_000);
  expect(await status()).toBe("running");
  // It reads on beyond the end of its disk, where any disk fails.
  expect((await reader.said()).slice(0, 50)).toBe("R".repeat(50));
});
