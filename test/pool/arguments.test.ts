import { describe, expect, it } from "vitest";
import { Pool } from "../../lib/pool/index.ts";
import { openFakePool } from "../support/fake-host.ts";

const INVALID = { code: "INVALID_ARGUMENT" };

describe("arguments that types forbid are refused all the same", () => {
  it.each([[null], [5], [{ logger: 5 }], [{ logger: {} }], [{ depth: 1 }]])("by Pool.open(%j)", async (options) => {
    await expect(Pool.open(options as never)).rejects.toMatchObject(INVALID);
  });

  it.each([[undefined], [{}], [{ recipe: "mini", signal: 5 }], [{ recipe: "mini", onProgress: 5 }]])(
    "by build(%j)",
    async (options) => {
      await using fake = await openFakePool();
      await expect(fake.pool.build(options as never)).rejects.toMatchObject(INVALID);
    },
  );

  it.each([[5], ["../../state/substrates/mini"], ["A"]])("by dock and docked of %j", async (name) => {
    await using fake = await openFakePool();
    await expect(fake.pool.dock(name as never, { min: 1 })).rejects.toMatchObject(INVALID);
    await expect(fake.pool.docked(name as never, { count: 1 })).rejects.toMatchObject(INVALID);
  });

  it("by a VM's calls", async () => {
    await using fake = await openFakePool();
    const [vm] = await fake.pool.activate(1, { substrate: "fake" });
    if (vm === undefined) throw new Error("no VM");
    for (const argv of [undefined, "ls", ["echo", 5], []]) {
      await expect(vm.exec(argv as never)).rejects.toMatchObject(INVALID);
    }
    await expect(vm.exec(["true"], { shell: true } as never)).rejects.toMatchObject(INVALID);
    await expect(vm.readFile(5 as never)).rejects.toMatchObject(INVALID);
    await expect(vm.readFile("")).rejects.toMatchObject(INVALID);
    await expect(vm.writeFile("/x", {} as never)).rejects.toMatchObject(INVALID);
  });
});

describe("networks", () => {
  it("that no host can have an address in are refused", async () => {
    await using fake = await openFakePool();
    for (const subnet of ["0.0.0.0/8", "127.0.0.0/24", "224.0.0.0/24", "255.255.255.0/24"]) {
      const spec = { substrate: "fake", network: { subnet } };
      await expect(fake.pool.activate(1, spec), subnet).rejects.toMatchObject(INVALID);
    }
  });

  it("that overlap are refused, for their VMs would not meet", async () => {
    await using fake = await openFakePool();
    const on = (subnet: string) => ({ substrate: "fake", network: { fabric: "mcast", subnet } as const });
    await fake.pool.activate(1, on("10.77.0.0/24"));
    await expect(fake.pool.activate(1, on("10.77.0.0/16"))).rejects.toMatchObject(INVALID);
    expect(await fake.pool.activate(1, on("10.78.0.0/24"))).toHaveLength(1);
  });
});
