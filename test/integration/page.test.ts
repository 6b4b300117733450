import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { fakeDock, fakeSubstrate, fakeVm } from "../support/fake-views.ts";
import { NARROW, namelessControls, type OpenedPage, openBrowser, openPage, overhang } from "../support/page-browser.ts";
import { PageDaemon, READ_TOKEN, WRITE_TOKEN } from "../support/page-daemon.ts";

const ROOT = join(import.meta.dirname, "../..");
/** "Within a second of its making", as it is promised. */
const SOON = { timeout: 1000 };

let browser: Browser;
let folder: string;
let daemon: PageDaemon;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vm-substrate-page-"));
  await build({ configFile: join(ROOT, "vite.config.ts"), logLevel: "warn", build: { outDir: folder } });
  browser = await openBrowser();
}, 60_000);

afterAll(async () => {
  await browser.close();
  await rm(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  daemon = await PageDaemon.start({ page: folder });
  daemon.substrates.push(fakeSubstrate());
  daemon.docks.push(fakeDock());
  return () => daemon.stop();
});

/** The page, with what the daemon has; it has had no errors when it is closed. */
async function opened(token = WRITE_TOKEN, viewport?: typeof NARROW): Promise<OpenedPage> {
  const open = await openPage(browser, `${daemon.url}#token=${token}`, viewport);
  await open.page.getByText("Live", { exact: true }).waitFor({ state: "attached" });
  return {
    ...open,
    async [Symbol.asyncDispose]() {
      await open[Symbol.asyncDispose]();
      expect(open.errors).toEqual([]);
    },
  };
}

function addVms(count: number, changes: Parameters<typeof fakeVm>[1] = {}): void {
  for (let number = 1; number <= count; number++) {
    const vm = fakeVm(number, changes);
    daemon.vms.set(vm.id, vm);
  }
}

describe("the token", { timeout: 30_000 }, () => {
  it("is taken out of the address bar, and kept while the tab is open", async () => {
    await using open = await opened();
    expect(open.page.url()).toBe(daemon.url);
    await open.page.reload();
    await open.page.getByText("Live", { exact: true }).waitFor();
  });

  it("is asked for when there is none, and again when it is refused", async () => {
    await using open = await openPage(browser, daemon.url);
    const field = open.page.getByLabel("Token");
    await field.fill("wrong");
    await field.press("Enter");
    await open.page.getByRole("alert").getByText("UNAUTHORIZED").waitFor();
    expect(await namelessControls(open.page)).toEqual([]);
    await field.fill(WRITE_TOKEN);
    await field.press("Enter");
    await open.page.getByText("Live", { exact: true }).waitFor();
    expect(open.errors).toEqual([]);
  });

  it("that only reads leaves no button that changes something", async () => {
    addVms(2);
    await using open = await opened(READ_TOKEN);
    await open.page.getByRole("button", { name: "web-1", exact: true }).last().click();
    await open.page.getByRole("complementary", { name: "VM web-1" }).waitFor();
    expect(await open.page.getByRole("button", { name: /activate vms|release|park|resume|^set$/i }).count()).toBe(0);
    await open.page.keyboard.press("a");
    await open.page.keyboard.press("r");
    expect(await open.page.getByRole("dialog").count()).toBe(0);
    await open.page.getByText("read only").waitFor();
  });
});

describe("what the page shows", { timeout: 30_000 }, () => {
  it("has a claim within a second", async () => {
    await using open = await opened();
    await open.page.getByText("No VMs yet.").waitFor();
    daemon.activate({ spec: { substrate: "mini", hostname: "fresh" } });
    await open.page.getByRole("row").filter({ hasText: "fresh" }).waitFor(SOON);
  });

  it("follows docks, VMs that end, and seconds", async () => {
    addVms(1);
    await using open = await opened();
    await open.page.getByRole("img", { name: "mini: 6 of at most 16 ready, 8 wanted, 1 starting" }).waitFor();
    daemon.emit("dock", { dock: fakeDock({ ready: 0, breaker: "open", lastError: "QEMU ended" }) });
    await open.page.getByText("breaker open", { exact: true }).waitFor(SOON);
    daemon.emit("exit", { vm: fakeVm(1, { state: "failed" }), code: 1, signal: null });
    await open.page.getByText("No VMs yet.").waitFor(SOON);
    daemon.activate({ count: 3, spec: { substrate: "mini" } });
    await open.page.getByRole("img", { name: /3 claims in all, at most 3 in a second/ }).waitFor({ timeout: 3000 });
  });

  it("draws a few hundred of many VMs, counts the rest, and filters", async () => {
    addVms(260);
    await using open = await opened();
    const rows = open.page.locator("tbody tr[class], tbody tr").filter({ has: open.page.locator("[data-vm]") });
    expect(await rows.count()).toBe(200);
    await open.page.getByText("and 60 VMs more").waitFor();
    await open.page.getByLabel("Filter the VMs").fill("web-26 match=22");
    await open.page.getByText("0 of 260 VMs").waitFor();
    await open.page.getByLabel("Filter the VMs").fill("web-26");
    await open.page.getByText("2 of 260 VMs").waitFor();
    expect(await rows.count()).toBe(2);
  });

  it("has of one VM its console, memory, timings and keys", async () => {
    addVms(1);
    daemon.consoleText = "booted\r\n";
    await using open = await opened();
    await open.page.locator("[data-vm]").click();
    const panel = open.page.getByRole("complementary", { name: "VM web-1" });
    await panel.getByText("booted").waitFor();
    daemon.consoleText += "login:";
    await panel.getByText("login:").waitFor({ timeout: 4000 });
    await panel.getByText("33.0 MiB").waitFor();
    await panel.getByRole("table", { name: "Phases of the activation" }).getByText("personalise").waitFor();
    await panel.getByText(fakeVm(1).sshHostKey).waitFor();
  });

  it("follows the VM that was chosen after another", async () => {
    addVms(2);
    await using open = await opened();
    for (const name of ["web-1", "web-2"]) await open.page.locator("[data-vm]").getByText(name).click();
    const panel = open.page.getByRole("complementary", { name: "VM web-2" });
    await panel.getByText("running").waitFor();
    daemon.emit("parked", { vm: fakeVm(2, { state: "parked" }) });
    await panel.getByText("parked").waitFor(SOON);
    daemon.emit("released", { vm: fakeVm(2, { state: "released" }) });
    await panel.getByText("It has ended.").waitFor(SOON);
  });

  it("takes text of guests for nothing but text", async () => {
    const evil = `<img src=x onerror="document.title='owned'">`;
    addVms(1, { hostname: evil, labels: { [evil]: evil } });
    daemon.consoleText = `<script>document.title="owned"</script>${evil}`;
    await using open = await opened();
    await open.page.locator("[data-vm]").click();
    await open.page.getByLabel("Console").getByText("<script>").waitFor();
    expect(await open.page.locator("img, script:not([src])").count()).toBe(0);
    expect(await open.page.title()).toBe("vm-substrate");
  });

  it("filters events by type", async () => {
    await using open = await opened();
    daemon.activate({ spec: { substrate: "mini" } });
    daemon.emit("removed", { substrate: { name: "old", version: 1 } });
    const events = open.page.getByRole("region", { name: "Events" });
    await events.getByText("old@1").waitFor(SOON);
    await events.getByRole("button", { name: "removed 1" }).click();
    expect(await events.getByText("old@1").count()).toBe(0);
    expect(await events.getByRole("listitem").count()).toBe(1);
  });
});

describe("what can be done", { timeout: 30_000 }, () => {
  it("a double click activates once, a retry after no answer too, and the next one anew", async () => {
    daemon.activationMs = 200;
    await using open = await opened();
    const activate = async () => {
      await open.page.getByRole("button", { name: "Activate VMs" }).click();
      const dialog = open.page.getByRole("dialog", { name: "Activate VMs" });
      await dialog.getByLabel("Count").fill("2");
      await dialog.getByLabel("Labels").fill("match=17");
      await dialog.getByRole("button", { name: "Activate", exact: true }).dblclick();
      await dialog.waitFor({ state: "detached" });
    };
    await activate();
    expect(daemon.vms.size).toBe(2);
    await open.page.getByText("2 VMs activated").waitFor();
    await activate();
    expect(daemon.vms.size).toBe(4);
    expect(new Set(daemon.activations).size).toBe(2);

    await open.page.getByRole("button", { name: "Activate VMs" }).click();
    const dialog = open.page.getByRole("dialog", { name: "Activate VMs" });
    await open.page.route("**/v1/vms?wait=30", async (route) => {
      await route.fetch();
      await route.abort();
    });
    await dialog.getByRole("button", { name: "Activate", exact: true }).click();
    await dialog.getByText("The daemon does not answer").waitFor();
    await open.page.unroute("**/v1/vms?wait=30");
    await dialog.getByRole("button", { name: "Activate", exact: true }).click();
    await dialog.waitFor({ state: "detached" });
    expect(daemon.vms.size).toBe(5);
  });

  it("a refusal is shown with its detail and code, and what was typed stays", async () => {
    await using open = await opened();
    await open.page.getByRole("button", { name: "Activate VMs" }).click();
    const dialog = open.page.getByRole("dialog", { name: "Activate VMs" });
    await dialog.getByLabel("Time to live").fill("soon");
    await dialog.getByRole("button", { name: "Activate", exact: true }).click();
    await dialog.getByRole("alert").getByText('"soon" is no length of time').waitFor();
    await dialog.getByLabel("Time to live").fill("30 min");
    daemon.refusal = { status: 503, code: "MEMORY_EXHAUSTED", detail: "64 MiB were asked for, 12 MiB are free" };
    await dialog.getByRole("button", { name: "Activate", exact: true }).click();
    await dialog.getByRole("alert").getByText("12 MiB are free").waitFor();
    await dialog.getByText("MEMORY_EXHAUSTED").waitFor();
    expect(await dialog.getByLabel("Time to live").inputValue()).toBe("30 min");
    expect(daemon.vms.size).toBe(0);
  });

  it("a release is asked about first", async () => {
    addVms(1);
    await using open = await opened();
    await open.page.getByRole("button", { name: "Release web-1" }).click();
    const dialog = open.page.getByRole("dialog", { name: "Release web-1?" });
    await dialog.getByRole("button", { name: "Keep it" }).click();
    expect(daemon.vms.size).toBe(1);
    await open.page.getByRole("button", { name: "Release web-1" }).click();
    await dialog.getByRole("button", { name: "Release", exact: true }).click();
    await open.page.getByText("No VMs yet.").waitFor();
    expect(daemon.vms.size).toBe(0);
  });

  it("parks and resumes, and says why when it cannot", async () => {
    addVms(1);
    await using open = await opened();
    await open.page.getByRole("button", { name: "Park web-1" }).click();
    await open.page.getByRole("row").getByText("parked").waitFor();
    daemon.refusal = { status: 409, code: "VM_GONE", detail: "its QEMU ended" };
    await open.page.getByRole("button", { name: "Resume web-1" }).click();
    await open.page.getByText("web-1 was not resumed.").waitFor();
    await open.page.getByText("VM_GONE").waitFor();
  });
});

describe("a connection that is lost", { timeout: 30_000 }, () => {
  it("is said, what is shown is marked as old, and all of it comes back", async () => {
    addVms(1);
    await using open = await opened();
    const { port } = daemon;
    await daemon.stop();
    await open.page.getByText("Not up to date.").waitFor();
    await open.page.getByText("Reconnecting").waitFor();
    await open.page.getByRole("row").filter({ hasText: "web-1" }).waitFor();
    daemon.vms.clear();
    addVms(3);
    await daemon.listen(port);
    daemon.emit("removed", { substrate: { name: "old", version: 1 } });
    await open.page.getByText("Live", { exact: true }).waitFor({ timeout: 20_000 });
    expect(await open.page.getByText("Not up to date.").count()).toBe(0);
  });

  it("continues after the last event that was heard", async () => {
    await using open = await opened();
    daemon.activate({ spec: { substrate: "mini", hostname: "before" } });
    await open.page.getByRole("row").filter({ hasText: "before" }).waitFor(SOON);
    daemon.dropStreams();
    daemon.activate({ spec: { substrate: "mini", hostname: "meanwhile" } });
    await open.page.getByRole("row").filter({ hasText: "meanwhile" }).waitFor();
    const events = open.page.getByRole("region", { name: "Events" }).getByRole("listitem");
    expect(await events.count()).toBe(2);
  });
});

describe("who uses it", { timeout: 30_000 }, () => {
  it("needs no mouse", async () => {
    addVms(3);
    await using open = await opened();
    const { keyboard } = open.page;
    const focused = () => open.page.evaluate<string>("document.activeElement.textContent || document.activeElement.id");
    await keyboard.press("/");
    await keyboard.type("web");
    await open.page.getByText("3 of 3 VMs").waitFor();
    await keyboard.press("Escape");
    await keyboard.press("j");
    await keyboard.press("j");
    expect(await focused()).toBe("web-2");
    await keyboard.press("Enter");
    await open.page.getByRole("complementary", { name: "VM web-2" }).waitFor();
    await keyboard.press("p");
    await open.page.getByRole("row").getByText("parked").waitFor();
    await keyboard.press("r");
    await open.page.getByRole("dialog", { name: "Release web-2?" }).waitFor();
    await keyboard.press("Escape");
    await keyboard.press("Escape");
    expect(await open.page.getByRole("complementary").count()).toBe(0);
    expect(await focused()).toBe("web-2");
    await keyboard.press("?");
    await open.page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
    await keyboard.press("Escape");
    await keyboard.press("a");
    await open.page.getByRole("dialog", { name: "Activate VMs" }).waitFor();
    await keyboard.press("Tab");
    await keyboard.press("ControlOrMeta+a");
    await keyboard.type("2");
    await keyboard.press("Enter");
    await open.page.getByText("2 VMs activated").waitFor();
    expect(daemon.vms.size).toBe(5);
  });

  it.each([
    ["wide", undefined],
    ["narrow", NARROW],
  ])("finds a name on every control, and nothing wider than a %s window", async (_, viewport) => {
    addVms(30, { hostname: `a-hostname-of-${"many-".repeat(8)}letters`, labels: { key: "value".repeat(20) } });
    await using open = await opened(WRITE_TOKEN, viewport);
    daemon.emit("dock", { dock: fakeDock({ breaker: "open", failures: 9, lastError: "x".repeat(300) }) });
    const states = {
      page: async () => {},
      panel: () => open.page.locator("[data-vm]").first().click(),
      release: () => open.page.keyboard.press("r"),
      help: async () => {
        await open.page.keyboard.press("Escape");
        await open.page.keyboard.press("?");
      },
      activate: async () => {
        await open.page.keyboard.press("Escape");
        await open.page.keyboard.press("a");
      },
    };
    for (const [name, reach] of Object.entries(states)) {
      await reach();
      expect(await namelessControls(open.page), name).toEqual([]);
      expect(await overhang(open.page), name).toBe(0);
    }
  });

  it("chooses light or dark, also for the next time", async () => {
    await using open = await opened();
    const background = () => open.page.evaluate<string>("getComputedStyle(document.documentElement).backgroundColor");
    const light = await background();
    // Two keys within one frame are two steps.
    await open.page.evaluate(`(async () => {
      for (let i = 0; i < 2; i++) {
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "t", bubbles: true, cancelable: true }));
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
    })()`);
    await open.page.getByRole("button", { name: "Colours: dark. Change them" }).waitFor();
    const dark = await background();
    expect(dark).not.toBe(light);
    await open.page.reload();
    expect(await background()).toBe(dark);
  });
});
