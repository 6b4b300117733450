import { join } from "node:path";
import type { Browser } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Daemon, readTokens } from "../../daemon/index.ts";
import { labDirectories } from "../support/lab.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { NARROW, namelessControls, type OpenedPage, openBrowser, openPage, overhang } from "../support/page-browser.ts";

const ROOT = join(import.meta.dirname, "../..");
/** "Within a second of its making", as it is promised. */
const SOON = { timeout: 1000 };
/** A claim of an empty dock, a park and a release take a while under emulation. */
const UNDER_TCG = { timeout: 30_000 };

let browser: Browser;

beforeAll(async () => {
  // As `npm run build` makes it: what the daemon serves.
  await build({ configFile: join(ROOT, "vite.config.ts"), logLevel: "warn" });
  browser = await openBrowser();
});

afterAll(() => browser.close());

/** A daemon that listens over TCP, with a dock of `mini`. */
function startDaemon(tcp = "127.0.0.1:0"): Promise<Daemon> {
  return Daemon.start({
    ...labDirectories(),
    addressQuarantineMs: 0,
    listen: { tcp },
    log: { level: "silent" },
    docks: { mini: { min: 2, max: 4, hostname: "web-{index}", network: { subnet: "10.91.0.0/24" } } },
  });
}

interface WebLab extends AsyncDisposable {
  daemon: Daemon;
  readonly url: string;
  readonly open: (scope: "read" | "write", viewport?: typeof NARROW) => Promise<OpenedPage>;
  readonly call: (method: string, path: string, body?: unknown) => Promise<Response>;
}

/** All VMs and docks are gone after it, and nothing else is left. */
async function openWebLab(): Promise<WebLab> {
  const lab = { daemon: await startDaemon() };
  const { url = "" } = lab.daemon;
  const tokens = await readTokens(lab.daemon.place.tokens);
  const tokenOf = (wanted: string) => tokens.find(({ scope }) => scope === wanted)?.token ?? "";
  const call = async (method: string, path: string, body?: unknown) => {
    const authorization = `Bearer ${tokenOf("write")}`;
    const response = await fetch(
      `${url}/v1${path}`,
      body === undefined
        ? { method, headers: { authorization } }
        : { method, headers: { authorization, "content-type": "application/json" }, body: JSON.stringify(body) },
    );
    if (!response.ok) throw new Error(`${method} ${path}: ${await response.text()}`);
    return response;
  };
  return Object.assign(lab, {
    url,
    call,
    async open(scope: "read" | "write", viewport?: typeof NARROW) {
      const opened = await openPage(browser, `${url}/#token=${tokenOf(scope)}`, viewport);
      await opened.page.getByText("Live", { exact: true }).waitFor({ state: "attached" });
      return {
        ...opened,
        async [Symbol.asyncDispose]() {
          await opened[Symbol.asyncDispose]();
          expect(opened.errors).toEqual([]);
        },
      };
    },
    async [Symbol.asyncDispose]() {
      const { items } = (await (await call("GET", "/vms")).json()) as { items: { id: string }[] };
      await Promise.all(items.map(({ id }) => call("DELETE", `/vms/${id}`)));
      await call("DELETE", "/docks/mini");
      await lab.daemon.stop();
      await expectNothingLeft(labDirectories());
    },
  });
}

const CLAIM = { count: 1, spec: { substrate: "mini", hostname: "web-{index}", network: { subnet: "10.91.0.0/24" } } };

describe("the page of a daemon with real VMs", () => {
  test("is asked for again each time, and what it names is kept for ever", async () => {
    await using lab = await openWebLab();
    const page = await fetch(lab.url);
    expect(page.headers.get("cache-control")).toBe("no-cache");
    expect(page.headers.get("content-security-policy")).toMatch(/^default-src 'self';(?!.*unsafe)/);
    const [, script = ""] = / src="(\/assets\/[^"]+)"/.exec(await page.text()) ?? [];
    const asset = await fetch(new URL(script, lab.url));
    expect(asset.status).toBe(200);
    expect(asset.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
  });

  test("shows a claim within a second, and of the VM what the guest wrote", async () => {
    await using lab = await openWebLab();
    await using opened = await lab.open("write");
    const { page } = opened;
    await page.getByRole("img", { name: /^mini: 2 of at most 4 ready/ }).waitFor(UNDER_TCG);
    await lab.call("POST", "/vms?wait=60", CLAIM);
    const row = page.getByRole("row").filter({ hasText: "web-" });
    await row.getByText("docked").waitFor(SOON);
    await row.getByText("10.91.0.").filter({ visible: true }).waitFor();
    await page.getByRole("img", { name: /1 claim in all/ }).waitFor({ timeout: 3000 });
    await row.getByRole("button", { name: /^web-/ }).click();
    const panel = page.getByRole("complementary");
    await panel.getByText(/ssh-ed25519 /).waitFor();
    await panel.getByText(/MiB$/).first().waitFor();
    await panel.getByLabel("Console").waitFor();
    expect(await panel.getByRole("alert").count()).toBe(0);
  });

  test("activates by the form, parks, resumes, and releases after a question", async () => {
    await using lab = await openWebLab();
    await using opened = await lab.open("write");
    const { page } = opened;
    await page.getByText("No VMs yet.").waitFor();
    await page.keyboard.press("a");
    const form = page.getByRole("dialog", { name: "Activate VMs" });
    await form.getByLabel("Substrate").selectOption("mini");
    await form.getByLabel("Hostname").fill("by-hand");
    await form.getByLabel("Labels").fill("match=17");
    await form.getByLabel("Time to live").fill("1 h");
    await page.keyboard.press("Enter");
    await page.getByText("by-hand activated").waitFor(UNDER_TCG);
    const row = page.getByRole("row").filter({ hasText: "by-hand" });
    await row.getByText("match=17").waitFor();
    await row.getByText("59 min").waitFor();

    await page.getByRole("button", { name: "Park by-hand" }).click();
    await row.getByText("parked").waitFor(UNDER_TCG);
    await page.getByRole("button", { name: "Resume by-hand" }).click();
    await row.getByText("running").waitFor(UNDER_TCG);

    // Refused by the daemon: nobody else may have the name.
    await page.keyboard.press("a");
    await form.getByLabel("Substrate").selectOption("mini");
    await form.getByLabel("Hostname").fill("by-hand");
    await form.getByRole("button", { name: "Activate", exact: true }).click();
    await form
      .getByRole("alert")
      .getByText(/^[A-Z_]+$/)
      .waitFor(UNDER_TCG);
    await page.keyboard.press("Escape");

    await page.getByRole("button", { name: "Release by-hand" }).click();
    const question = page.getByRole("dialog", { name: "Release by-hand?" });
    await question.getByRole("button", { name: "Release", exact: true }).click();
    await page.getByText("No VMs yet.").waitFor(UNDER_TCG);
  });

  test("with a token that only reads has no button that changes something", async () => {
    await using lab = await openWebLab();
    await lab.call("POST", "/vms?wait=60", CLAIM);
    await using opened = await lab.open("read");
    const { page } = opened;
    await page.getByText("read only").waitFor();
    await page.getByRole("row").filter({ hasText: "web-" }).getByRole("button").click();
    await page
      .getByRole("complementary")
      .getByText(/ssh-ed25519 /)
      .waitFor();
    expect(await page.getByRole("button", { name: /activate|release|park|resume|^set$/i }).count()).toBe(0);
  });

  test("comes back after the daemon was restarted, with the VMs that outlived it", async () => {
    await using lab = await openWebLab();
    await lab.call("POST", "/vms?wait=60", CLAIM);
    await using opened = await lab.open("write");
    const { page } = opened;
    const row = page.getByRole("row").filter({ hasText: "web-" });
    await row.waitFor();
    const name = await row.getByRole("button", { name: /^web-/ }).textContent();
    await lab.daemon.stop();
    await page.getByText("Not up to date.").waitFor();
    lab.daemon = await startDaemon(new URL(lab.url).host);
    await page.getByText("Live", { exact: true }).waitFor(UNDER_TCG);
    expect(await row.getByRole("button", { name: /^web-/ }).textContent()).toBe(name);
    await lab.call("POST", "/vms?wait=60", { ...CLAIM, spec: { ...CLAIM.spec, hostname: "after" } });
    await page.getByRole("row").filter({ hasText: "after" }).waitFor(SOON);
  });

  test("has a name on every control and fits a narrow window", async () => {
    await using lab = await openWebLab();
    await lab.call("POST", "/vms?wait=60", CLAIM);
    await using opened = await lab.open("write", NARROW);
    const { page } = opened;
    await page.getByRole("row").filter({ hasText: "web-" }).getByRole("button", { name: /^web-/ }).waitFor();
    expect(await namelessControls(page)).toEqual([]);
    expect(await overhang(page)).toBe(0);
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await page.getByRole("complementary").getByLabel("Console").waitFor();
    expect(await namelessControls(page)).toEqual([]);
    expect(await overhang(page)).toBe(0);
  });
});
