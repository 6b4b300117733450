import { execFile } from "node:child_process";
import { createReadStream } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Paths } from "../../lib/host/index.ts";
import { type ActivateSpec, type BuildProgress, Pool, type Vm } from "../../lib/index.ts";
import { labDirectories } from "../support/lab.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { said, textOf } from "../support/vms.ts";

const BUILD_TIMEOUT_MS = 900_000;
const TIMEOUT_MS = 120_000;
/** Written, used and removed by a step of the recipe: nowhere in what is kept. In two halves, so that no text has it whole. */
const SECRET = ["c0ffee-build", "secret-7f3a"] as const;
const RECIPE = `
from: debian
packages: [nginx-light]
files:
  - path: /var/www/html/index.html
    content: "hello from a clone\\n"
  - path: /usr/lib/secret.sh
    content: "echo ${SECRET[0]}$(echo -n ${SECRET[1]}) > /root/.ssh/id_build; cat /root/.ssh/id_build > /dev/null"
run:
  - mkdir -p /root/.ssh && sh /usr/lib/secret.sh
  - rm /root/.ssh/id_build /usr/lib/secret.sh
  - LAST
ready:
  - probe: system
  - probe: any
    of: [{ probe: port, port: 8080 }, { probe: unit, unit: nginx.service }]
  - probe: all
    of: [{ probe: port, port: 80 }, { probe: http }]
  - probe: command
    argv: [test, -e, /var/www/html/index.html]
  - probe: log
    file: /etc/hostname
    contains: localhost
`;

let stateDir = "";
let pool: Pool;
const directories = () => ({ stateDir, cacheDir: labDirectories().cacheDir });
const open = () => Pool.open(directories());

beforeAll(async () => {
  stateDir = await mkdtemp(join(tmpdir(), "vm-debian-"));
  pool = await open();
  await build("touch /srv/one");
}, BUILD_TIMEOUT_MS);

afterAll(async () => {
  await pool?.close();
  await expectNothingLeft(directories());
  await rm(stateDir, { recursive: true, force: true });
}, TIMEOUT_MS);

/** @returns the steps of the recipe that were run */
async function build(last: string): Promise<string[]> {
  const recipeFile = join(stateDir, "web.yaml");
  await writeFile(recipeFile, RECIPE.replace("LAST", last));
  const steps: string[] = [];
  const onProgress = ({ step, message }: BuildProgress) => void (step === "step" && steps.push(message));
  await pool.build({ recipeFile, onProgress });
  return steps;
}

/** What the guest's web server answers, without a program for it in the guest. */
const GET = 'exec 3<>/dev/tcp/127.0.0.1/80; printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3; cat <&3';

/** VMs that are released when the test is over, whatever came of it. */
async function activate(count: number, more: Partial<ActivateSpec> = {}) {
  const vms = await pool.activate(count, { substrate: "web", network: { fabric: "mcast" }, ...more });
  const [vm] = vms as [Vm];
  return {
    vms,
    vm,
    [Symbol.asyncDispose]: async () => void (await Promise.all(vms.map((one) => one.release()))),
  };
}

describe("a substrate of Debian with a web server", () => {
  test("was made of what its RAM can spare, and says what was taken out of it", { timeout: TIMEOUT_MS }, async () => {
    const [web] = await pool.substrates();
    expect(web).toMatchObject({ name: "web", recipe: "debian", memory: { assignedBytes: 512 * 2 ** 20 } });
    expect(web?.memory.residentBytes).toBeLessThan(128 * 2 ** 20);
    expect(web?.generalized.map(({ trace }) => trace)).toEqual(expect.arrayContaining(["logs", "journal"]));
  });

  test("gives VMs that serve at once, each as itself", { timeout: TIMEOUT_MS }, async () => {
    await using made = await activate(2);
    const { vms } = made;
    for (const vm of vms) {
      expect(await said(vm, "bash", "-c", GET)).toMatch(/200 OK.*hello from a clone/s);
      expect(await said(vm, "systemctl", "is-system-running")).toBe("running");
      expect(await said(vm, "hostname")).toBe(vm.hostname);
      expect(await said(vm, "cat", "/etc/machine-id", "/var/lib/dbus/machine-id")).toBe(
        `${vm.machineId}\n${vm.machineId}`,
      );
      expect(await said(vm, "ssh-keygen", "-y", "-f", "/etc/ssh/ssh_host_ed25519_key")).toContain(vm.sshHostKey);
      expect(await textOf(vm, "/etc/hosts")).toContain(vm.hostname);
      expect(await said(vm, "ip", "-o", "-4", "addr", "show", "eth0")).toContain(`${vm.address}/16`);
      expect(await said(vm, "cat", "/sys/class/net/eth0/address")).toBe(vm.mac);
      expect(await said(vm, "stat", "-c", "%a %U", "/etc/ssh/ssh_host_ed25519_key")).toBe("600 root");
      expect(await said(vm, "ls", "/srv")).toBe("one");
    }
    const seeds = await Promise.all(vms.map((vm) => said(vm, "head", "-c16", "/dev/urandom")));
    expect(new Set(seeds).size).toBe(2);
  });

  test("reaches other clones, and its SSH shows the host key that the VM's handle has", {
    timeout: TIMEOUT_MS,
  }, async () => {
    await using made = await activate(2);
    const [one, other] = made.vms as [Vm, Vm];
    await expect
      .poll(() => said(one, "ssh-keyscan", "-t", "ed25519", other.address), { timeout: 60_000, interval: 1000 })
      .toContain(other.sshHostKey);
  });

  test("can be claimed from a dock, primed, and grown", { timeout: TIMEOUT_MS }, async () => {
    await pool.dock("web", { min: 1, max: 1, primed: true });
    await pool.docked("web", { count: 1, timeoutMs: 60_000 });
    await using docked = await activate(1);
    const { vm } = docked;
    expect(vm.origin).toBe("docked");
    expect(await said(vm, "cat", "/etc/machine-id")).toBe(vm.machineId);
    await pool.dock("web", { min: 0, max: 0 });
    await using grown = await activate(1, { resources: { cpus: 2, memoryMiB: 768, diskMiB: 4096 } });
    const { vm: large } = grown;
    expect(await said(large, "nproc")).toBe("2");
    expect(Number((await said(large, "df", "-BM", "--output=size", "/")).match(/(\d+)M\s*$/)?.[1])).toBeGreaterThan(
      3500,
    );
  });

  test("holds no secret of its build, neither in memory nor on its disk", { timeout: TIMEOUT_MS }, async () => {
    const { version } = (await pool.substrates())[0] ?? { version: 0 };
    const files = new Paths(directories()).substrate("web", version);
    const raw = join(stateDir, "disk.raw");
    await promisify(execFile)("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", files.disk, raw]);
    const secret = SECRET.join("");
    expect(await occurrences(files.ram, secret)).toBe(0);
    expect(await occurrences(raw, secret)).toBe(0);
    expect(await occurrences(raw, "PRIVATE KEY-----\nb3BlbnNzaC1rZXkt")).toBe(0);
    expect(await occurrences(raw, "hello from a clone")).toBeGreaterThan(0); // the search finds what is there
    await rm(raw);
  });

  test("is made anew from the step that has changed on", { timeout: BUILD_TIMEOUT_MS }, async () => {
    expect(await build("touch /srv/two")).toEqual(["run touch /srv/two"]);
    await using made = await activate(1);
    const { vm } = made;
    expect(vm.substrate).toEqual({ name: "web", version: 2 });
    expect(await said(vm, "ls", "/srv")).toBe("two");
  });
});

describe("a recipe that cannot succeed", () => {
  test("says which step failed, and what it printed", { timeout: BUILD_TIMEOUT_MS }, async () => {
    await expect(build("echo so it goes; exit 3")).rejects.toMatchObject({
      code: "BUILD_FAILED",
      message: expect.stringMatching(/status 3: so it goes/),
    });
    await expectNothingLeft(directories(), { open: true });
  });

  test("says why a service never became ready, from its log", { timeout: BUILD_TIMEOUT_MS }, async () => {
    const recipeFile = join(stateDir, "broken.yaml");
    const unit =
      '[Service]\\nExecStart=/bin/sh -c "echo no luck today; exit 1"\\n[Install]\\nWantedBy=multi-user.target\\n';
    const text = `from: debian\npackages: [nginx-light]\nfiles: [{ path: /etc/systemd/system/broken.service, content: "${unit.replaceAll('"', '\\"').replaceAll('\\\\"', '\\"')}" }]\nunits: [broken.service]\nready: [{ probe: unit, unit: broken.service }]\n`;
    await writeFile(recipeFile, text);
    await expect(pool.build({ recipeFile })).rejects.toMatchObject({
      code: "BUILD_FAILED",
      message: expect.stringMatching(/broken\.service.*no luck today/s),
    });
    await expectNothingLeft(directories(), { open: true });
  });
});

/** How often a text is in a file. */
async function occurrences(file: string, text: string): Promise<number> {
  let count = 0;
  let tail = Buffer.alloc(0);
  for await (const chunk of createReadStream(file, { highWaterMark: 2 ** 22 }) as AsyncIterable<Buffer>) {
    const both = Buffer.concat([tail, chunk]);
    for (let at = both.indexOf(text); at >= 0; at = both.indexOf(text, at + 1)) count++;
    tail = both.subarray(Math.max(0, both.length - text.length + 1));
  }
  return count;
}
