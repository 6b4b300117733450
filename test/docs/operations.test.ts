import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { configSchema, parseConfig } from "../../daemon/config.ts";
import { openFakeDaemon } from "../support/fake-daemon.ts";
import { ask } from "../support/raw-http.ts";

const PAGE = readFileSync(join(import.meta.dirname, "../../docs/OPERATIONS.md"), "utf8");

describe("docs/OPERATIONS.md", () => {
  it("lists every metric of ours, its kind and labels, and no other", async () => {
    await using fake = await openFakeDaemon();
    const { text } = await ask(fake.daemon.place.socket, { path: "/metrics" });
    const served = [...text.matchAll(/^# TYPE (\S+) (\w+)$/gm)]
      .map(([, name = "", kind]) => `${name} ${kind}`)
      .filter((one) => !/^vm_substrate_(process|nodejs)_/.test(one));
    const listed = [...PAGE.matchAll(/^\| `(vm_substrate_\w+)` \| (\w+) \|/gm)].map(
      ([, name, kind]) => `${name} ${kind}`,
    );
    expect(listed.toSorted()).toEqual(served.toSorted());
  });

  it("uses no metric in its alerts that there is not", async () => {
    await using fake = await openFakeDaemon();
    const { text } = await ask(fake.daemon.place.socket, { path: "/metrics" });
    const used = [...PAGE.matchAll(/\bvm_substrate_\w*[a-z]\b/g)].map(([name]) => name.replace(/_(bucket|count)$/, ""));
    for (const name of used) expect(text, name).toContain(`# TYPE ${name} `);
  });

  it("has a configuration that is taken, and names every key", () => {
    const [, yaml = ""] = /```yaml\n(stateDir[\s\S]*?)```/.exec(PAGE) ?? [];
    expect(parseConfig(yaml, "example").docks).toHaveProperty("mini");
    for (const key of Object.keys(configSchema.shape)) expect(yaml).toContain(key);
  });
});
