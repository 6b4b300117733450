import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const COMPILER = join(ROOT, "node_modules/.bin/tsc");
const WITH_EXAMPLES = ["README.md", "docs/QMP.md", "docs/CLIENT.md"];
const COMPILE_TIMEOUT_MS = 60_000;

/** The TypeScript examples of a page as one module, as they follow one another, each on the line that it has in the page. */
function examplesOf(page: string): string {
  let inside = false;
  const lines = source(page).split("\n");
  return lines
    .map((line) => {
      if (line.startsWith("```")) {
        inside = line === "```ts";
        return "";
      }
      return inside ? line : "";
    })
    .join("\n");
}

/** A module that stands for a page: README.md becomes README.mts. */
function moduleName(page: string): string {
  return `${basename(page, ".md")}.mts`;
}

function pages(): string[] {
  const folders = [".", "docs", "docs/adr", "guest/helper", "guest/session"];
  return folders.flatMap((folder) =>
    readdirSync(join(ROOT, folder))
      .filter((name) => name.endsWith(".md"))
      .map((name) => join(folder, name)),
  );
}

/** Text of a page without code, in which a bracket is no link. */
function prose(page: string): string {
  return source(page)
    .replaceAll(/^```[\s\S]*?^```/gm, "")
    .replaceAll(/`[^`\n]*`/g, (code) => code.replaceAll(/[[\]()]/g, ""));
}

function linksOf(page: string): string[] {
  return [...prose(page).matchAll(/\]\(([^()\s]+)\)/g)].map(([, target = ""]) => target);
}

/** Anchors of a page's headings, as GitHub makes them. */
function anchorsOf(page: string): string[] {
  const headings = prose(page).matchAll(/^#+ (.+)$/gm);
  return [...headings].map(([, title = ""]) =>
    title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\- _]/gu, "")
      .replaceAll(" ", "-"),
  );
}

describe("TypeScript examples", () => {
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "vm-substrate-examples-"));
    for (const page of WITH_EXAMPLES) writeFileSync(join(folder, moduleName(page)), examplesOf(page));
    const compilerOptions = {
      noEmit: true,
      rootDir: "/",
      paths: {
        "vm-substrate": [join(ROOT, "lib/index.ts")],
        "vm-substrate/qmp": [join(ROOT, "lib/qmp/index.ts")],
        "vm-substrate/client": [join(ROOT, "client/index.ts")],
      },
      typeRoots: [join(ROOT, "node_modules/@types")],
      // As in a project of a user's, which is strict but no stricter.
      noUncheckedIndexedAccess: false,
      noUnusedLocals: false,
    };
    const files = WITH_EXAMPLES.map(moduleName);
    const config = { extends: join(ROOT, "tsconfig.json"), compilerOptions, include: [], files };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
  });

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("are there", () => {
    for (const page of WITH_EXAMPLES) expect(examplesOf(page).trim(), page).not.toBe("");
  });

  it(
    "compile against the library",
    () => {
      const argv = [COMPILER, "-p", folder, "--pretty", "false"];
      const result = spawnSync(process.execPath, argv, { cwd: folder, encoding: "utf8", timeout: COMPILE_TIMEOUT_MS });
      expect(result.stdout + result.stderr).toBe("");
      expect(result.status).toBe(0);
    },
    COMPILE_TIMEOUT_MS,
  );

  it("import from the package by its name", () => {
    for (const page of WITH_EXAMPLES) {
      const specifiers = [...examplesOf(page).matchAll(/\bfrom "([^"]+)"/g)].map(([, specifier]) => specifier);
      expect(specifiers.length, page).toBeGreaterThan(0);
      for (const specifier of specifiers)
        expect(specifier, page).toMatch(/^(vm-substrate(\/(qmp|client))?|node:[a-z/]+)$/);
    }
  });
});

describe("links", () => {
  it.each(pages())("of %s lead to a file and a heading that are there", (page) => {
    for (const link of linksOf(page)) {
      if (/^[a-z]+:/.test(link)) continue;
      const [path = "", anchor] = link.split("#");
      const target = path === "" ? page : relative(ROOT, join(ROOT, dirname(page), path));
      expect(existsSync(join(ROOT, target)), `${page}: ${link}`).toBe(true);
      if (anchor !== undefined) expect(anchorsOf(target), `${page}: ${link}`).toContain(anchor);
    }
  });

  it.each(pages().filter((page) => page !== "CONTRIBUTING.md"))("and names of files in %s are of files", (page) => {
    const named = [...source(page).matchAll(/`((?:lib|test|guest|scripts)\/[\w./-]+\.[a-z]+)`/g)];
    for (const [, file = ""] of named) expect(existsSync(join(ROOT, file)), `${page}: ${file}`).toBe(true);
  });

  it("lead from the README to every page of docs/", () => {
    const linked = linksOf("README.md").map((link) => link.split("#")[0] ?? "");
    const wanted = pages().filter((page) => dirname(page) === "docs");
    expect(wanted.filter((page) => !linked.includes(page))).toEqual([]);
  });
});

function source(file: string): string {
  return readFileSync(join(ROOT, file), "utf8");
}

/** Names of an interface's fields, in order. */
function fieldsOf(text: string, name: string): string[] {
  const body = new RegExp(`interface ${name}\\b[^{]*\\{([\\s\\S]*?)\\n\\}`).exec(text)?.[1] ?? "";
  return [...body.matchAll(/^ {2}readonly ([a-zA-Z]+)\??:/gm)].map(([, field = ""]) => field);
}

/** First cells of a page's table below a line that begins so. */
function optionsBelow(heading: string, page = "README.md"): string[] {
  const text = source(page);
  const table = text.slice(text.indexOf(`\n${heading}`)).split("\n\n")[1] ?? "";
  return [...table.matchAll(/^\| `([a-zA-Z.]+)` \|/gm)].map(([, name = ""]) => name);
}

describe("the README", () => {
  it("names no npm script that package.json lacks", () => {
    const scripts: Record<string, string> = JSON.parse(source("package.json")).scripts;
    const named = [...source("README.md").matchAll(/npm run ([a-z:]+)/g)].map(([, name = ""]) => name);
    for (const name of named) expect(Object.keys(scripts)).toContain(name);
  });

  it("lists every option, and no other", () => {
    const options = source("lib/pool/options.ts");
    const directories = fieldsOf(source("lib/host/paths.ts"), "Directories");
    expect(optionsBelow("`connect(options)`", "docs/CLIENT.md")).toEqual([
      ...directories,
      ...fieldsOf(source("client/connect.ts"), "ConnectOptions"),
    ]);
    expect(optionsBelow("`Pool.open(options)`")).toEqual([...directories, ...fieldsOf(options, "PoolOptions")]);
    expect(optionsBelow("`pool.build(options)`").toSorted()).toEqual(fieldsOf(options, "BuildOptions").toSorted());
    expect(optionsBelow("`pool.dock(name, options)`,")).toEqual(fieldsOf(options, "DockOptions"));
    const ofSubstrates = source("lib/pool/substrate-options.ts");
    for (const [call, fields] of [
      ["exportSubstrate(substrate, file, options)", "ExportOptions"],
      ["importSubstrate(file, options)", "ImportOptions"],
      ["pruneSubstrates(options)", "PruneOptions"],
      ["scrubSubstrates(options)", "ScrubOptions"],
    ] as const) {
      expect(optionsBelow(`\`pool.${call}\``), call).toEqual(fieldsOf(ofSubstrates, fields));
    }
    const network = fieldsOf(options, "NetworkSpec").map((field) => `network.${field}`);
    const resources = fieldsOf(options, "ResourcesSpec").map((field) => `resources.${field}`);
    const nested: Readonly<Record<string, readonly string[]>> = { network, resources };
    const spec = fieldsOf(options, "ActivateSpec").flatMap((field) => nested[field] ?? [field]);
    expect(optionsBelow("`pool.activate(count, spec, { signal, callId })`")).toEqual(spec);
    expect(optionsBelow("`vm.fork(count, options)`,")).toEqual(
      fieldsOf(source("lib/clone/fork-options.ts"), "ForkOptions"),
    );
    expect(optionsBelow("`vm.exec(argv, options)`")).toEqual(
      fieldsOf(source("lib/clone/vm-options.ts"), "ExecOptions"),
    );
    expect(optionsBelow("`vm.session(argv, options)`")).toEqual(
      fieldsOf(source("lib/clone/session/session-options.ts"), "SessionOptions"),
    );
  });
});
