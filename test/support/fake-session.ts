import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect } from "vitest";
import type { Vm } from "../../lib/clone/index.ts";
import { sessionProgram } from "../../lib/substrate/index.ts";
import { type FakeHost, type FakePool, openFakePool } from "./fake-host.ts";
import type { FakeScript } from "./fake-qemu-script.ts";
import { expectNothingLeft } from "./nothing-left.ts";
import { activateOne, fakeOf } from "./vms.ts";

/** The guest's program, compiled once for all tests of a file. */
let programs = "";

/** For the head of a test file: `addProgram` and `openVm` need it. */
export function compileSessionProgram(): void {
  beforeAll(async () => {
    programs = await mkdtemp(join(tmpdir(), "programs-"));
    await sessionProgram(programs, AbortSignal.timeout(60_000));
  }, 60_000);
  afterAll(() => rm(programs, { recursive: true, force: true }));
}

export interface FakeSession extends AsyncDisposable {
  readonly fake: FakePool;
  readonly vm: Vm;
}

export async function addProgram({ paths }: FakeHost): Promise<void> {
  await mkdir(paths.nativeLibraries, { recursive: true, mode: 0o700 });
  await cp(programs, paths.nativeLibraries, { recursive: true });
}

export async function openVm(script: FakeScript = {}): Promise<FakeSession> {
  await using undo = new AsyncDisposableStack();
  const fake = undo.use(await openFakePool({ heartbeatMs: 0 }));
  await addProgram(fake.host);
  const vm = await activateOne(fake.pool);
  await fakeOf(fake, vm).follow(script);
  const owned = undo.move();
  return {
    fake,
    vm,
    async [Symbol.asyncDispose]() {
      await owned.disposeAsync();
      await expectNothingLeft(fake.host.paths);
    },
  };
}

export const socketOf = ({ fake, vm }: FakeSession) => fake.host.paths.vm(vm.id).stream;

/** Nothing of a session is in the VM, so that it could be forked. */
export async function expectUnplugged(opened: FakeSession): Promise<void> {
  expect(existsSync(socketOf(opened))).toBe(false);
  await opened.vm.whileRunning("look", async ({ instance }) => {
    expect(await instance.qmp.execute("query-chardev")).toEqual([]); // the fake lists what was added while it ran
  });
}
