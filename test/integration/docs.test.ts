import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connect, type RemotePool } from "../../client/index.ts";
import { QmpClient } from "../../lib/qmp/index.ts";
import { labDirectories } from "../support/lab.ts";

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, "../..");
const TIMEOUT_MS = 300_000;
/** A stream of events has no end of its own: curl is told to stop listening. Source: curl(1), "EXIT CODES". */
const LISTEN_SECONDS = 2;
const CURL_TIMED_OUT = 28;

/** Every line to be typed into a shell in a page of this project, with those that it goes on in. */
function shellLines(page: string): string[] {
  const blocks = readFileSync(join(ROOT, page), "utf8").matchAll(/^```sh\n(.*?)^```/gms);
  return [...blocks].flatMap(([, block = ""]) =>
    block
      .trim()
      .replaceAll(/\\\n\s*/g, "")
      .split("\n"),
  );
}

let dir = "";
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "vm-docs-"));
  await symlink(join(ROOT, "scripts/substrate"), join(dir, "substrate"));
  await writeFile(join(dir, "hostname"), "written\n");
  env = {
    PATH: `${dir}:${process.env.PATH}`,
    HOME: dir,
    // One daemon is the only one there.
    XDG_RUNTIME_DIR: dir,
    VM_SUBSTRATE_STATE_DIR: join(dir, "state"),
    VM_SUBSTRATE_CACHE_DIR: labDirectories().cacheDir,
  };
});
afterAll(async () => {
  await shell("substrate release --all --no-start -q; substrate daemon stop -q");
  await rm(dir, { recursive: true, force: true });
});

/** As a person types it, but that nothing outside of the test's folder is written. */
async function shell(line: string) {
  const child = spawn("bash", ["-c", line.replaceAll("/tmp/", `${dir}/`)], { env, cwd: dir });
  const [stdout, stderr] = [text(child.stdout), text(child.stderr)];
  const exitCode = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { exitCode, stdout: await stdout, stderr: await stderr };
}

describe.each(["README.md", "docs/CLI.md"])("the commands of %s", (page) => {
  const lines = shellLines(page).filter((line) => line.startsWith("substrate "));

  test.each(lines)(
    "%s",
    async (line) => {
      const { exitCode, stdout, stderr } = await shell(line);
      expect(`${exitCode} ${stderr}`).toMatch(/^0 /);
      expect(stdout.length).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );
});

test("what docs/QMP.md starts does what it shows then", async () => {
  const line = shellLines("docs/QMP.md").join(" ").replaceAll("/run/user/1000/vm/", `${dir}/`);
  const qemu = spawn("bash", ["-c", `exec ${line}`], { stdio: "inherit" });
  const ended = once(qemu, "exit");
  try {
    await using qmp = await QmpClient.connect(join(dir, "qmp"), { retryUntilPresent: true });
    const resumed = qmp.waitForEvent("RESUME");
    await qmp.execute("cont");
    await resumed;
    expect(await qmp.execute("query-status")).toMatchObject({ status: "running" });
    const ports = await qmp.execute<readonly { readonly label: string }[]>("query-chardev");
    expect(ports.map(({ label }) => label)).toEqual(expect.arrayContaining(["qmp", "qga"]));
  } finally {
    qemu.kill("SIGTERM");
    await ended;
  }
});

describe("the requests of the documents", () => {
  let pool: RemotePool;
  beforeAll(async () => {
    const { stdout } = await shell("substrate daemon status --format json");
    env.S = (JSON.parse(stdout) as { socket: string }).socket;
    pool = await connect({ stateDir: join(dir, "state"), runtimeDir: dir });
    await pool.dock("mini", { min: 1 });
    await pool.activate(1, { substrate: "mini", hostname: "mini-0" });
  }, TIMEOUT_MS);
  afterAll(() => pool.close());

  const requests = [...shellLines("docs/CLIENT.md"), ...shellLines("docs/API.md")].filter((line) =>
    line.startsWith("curl "),
  );
  const isRemoval = (line: string) => line.includes("-X DELETE");
  const rank = (line: string) =>
    ["/operations/", "/vms/", "/docks/", "/substrates/"].findIndex((at) => line.includes(at));
  // What is removed is what others show: VMs first, as a substrate in use is not removed.
  const removals = requests.filter(isRemoval).toSorted((a, b) => rank(a) - rank(b));

  test.each(requests.filter((line) => !isRemoval(line)))("%s", answers, TIMEOUT_MS);
  test.each(removals)("%s", answers, TIMEOUT_MS);

  async function answers(line: string): Promise<void> {
    const asked = line.includes("operations/ID") ? line.replace("ID", await lastOperation()) : line;
    if (line.includes("/docks/mini'") && isRemoval(line)) await Promise.all(pool.vms.map((vm) => vm.release()));
    const { exitCode, stdout, stderr } = await shell(`${asked} -w '\\n%{http_code}' --max-time ${maxSeconds(line)}`);
    const status = Number(stdout.slice(stdout.lastIndexOf("\n") + 1));
    expect(`${stderr}${stdout} ${status}`).toMatch(/ 20[0124]$/);
    expect(exitCode).toBe(line.includes("-N ") ? CURL_TIMED_OUT : 0);
    if (status !== 202) return;
    // Accepted is not done.
    expect(await get(location(stdout))).toMatchObject({ state: "succeeded" });
  }

  async function get(url: string) {
    const { stdout } = await run("curl", ["-s", "--unix-socket", env.S ?? "", url]);
    return JSON.parse(stdout);
  }

  async function lastOperation(): Promise<string> {
    return (await get("http://localhost/v1/operations")).items.at(-1).id;
  }

  function maxSeconds(line: string): number {
    return line.includes("-N ") ? LISTEN_SECONDS : TIMEOUT_MS / 1000;
  }

  function location(answer: string): string {
    const { id } = JSON.parse(answer.slice(0, answer.lastIndexOf("\n"))) as { id: string };
    return `http://localhost/v1/operations/${id}?wait=120`;
  }
});
