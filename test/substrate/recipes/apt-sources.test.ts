import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { aptSources } from "../../../lib/substrate/recipes/debian/apt-sources.ts";

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "apt-"));
  await mkdir(join(dir, "sources.list.d"));
});
afterEach(() => rm(dir, { recursive: true }));

const put = (name: string, text: string) => writeFile(join(dir, name), text);

describe("aptSources", () => {
  it("takes a release, its updates and its security fixes, in either form", async () => {
    await put(
      "sources.list",
      "# a comment\ndeb [signed-by=/k.gpg arch=amd64] http://mirror.invalid/debian bookworm main\ndeb-src http://mirror.invalid/debian bookworm main\n",
    );
    await put(
      "sources.list.d/more.sources",
      "Types: deb\n# why\nURIs: http://mirror.invalid/debian-security\nSuites: bookworm-security\nComponents: main\n\n",
    );
    expect(await aptSources("bookworm", dir)).toBe(
      "Types: deb\nURIs: http://mirror.invalid/debian\nSuites: bookworm\nComponents: main\nSigned-By: /k.gpg\n\n" +
        "Types: deb\nURIs: http://mirror.invalid/debian-security\nSuites: bookworm-security\nComponents: main\n",
    );
  });

  it.each([
    ["another's archive", "Types: deb\nURIs: http://vendor.invalid/apt\nSuites: bookworm\nComponents: main\n"],
    ["another release", "Types: deb\nURIs: http://mirror.invalid/debian\nSuites: trixie\nComponents: main\n"],
    ["sources alone", "Types: deb-src\nURIs: http://mirror.invalid/debian\nSuites: bookworm\nComponents: main\n"],
    ["what is switched off", "Enabled: no\nTypes: deb\nURIs: http://mirror.invalid/debian\nSuites: bookworm\n"],
  ])("leaves out %s, and says when nothing is left", async (_, stanza) => {
    await put("sources.list.d/other.sources", stanza);
    await put("sources.list.d/ignored.txt", "deb http://mirror.invalid/debian bookworm main\n");
    await expect(aptSources("bookworm", dir)).rejects.toMatchObject({ code: "RECIPE_FAILED" });
  });
});
