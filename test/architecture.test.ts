import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { describe, expect, it } from "vitest";
import { architectureProblems, importsOf, type SourceFile, withoutComments } from "./support/imports.ts";

const ROOT = join(import.meta.dirname, "..");
const FOLDERS = ["lib", "api", "client", "daemon", "cli", "web", "examples", "scripts"];

function sources(): SourceFile[] {
  return FOLDERS.flatMap((folder) => {
    const path = join(ROOT, folder);
    return entriesOf(path)
      .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((file) => !file.includes("/node_modules/"))
      .map((file) => ({ path: relative(ROOT, file), text: readFileSync(file, "utf8") }));
  });
}

function entriesOf(folder: string) {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true });
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}

function problemsOf(files: Record<string, string>): string[] {
  return architectureProblems(Object.entries(files).map(([path, text]) => ({ path, text })));
}

describe("this repository", () => {
  it("keeps the rules of imports and of file size", () => {
    const files = sources();
    expect(files.map(({ path }) => path)).toContain("lib/core/errors.ts");
    expect(architectureProblems(files)).toEqual([]);
  });
});

describe("import directions", () => {
  it("let a folder import the index of a lower one", () => {
    expect(
      problemsOf({
        "lib/netcfg/plan.ts": `import { newId } from "../core/index.ts";\nimport { Store } from "../store/index.ts";`,
        "lib/clone/clone.ts": `import { Lease } from "../netcfg/index.ts";\nimport { spawnQemu } from "../host/index.ts";`,
        "lib/index.ts": `export { Pool } from "./pool/index.ts";`,
        "cli/main.ts": `import { Pool } from "../lib/index.ts";\nimport { serve } from "../daemon/index.ts";`,
      }),
    ).toEqual([]);
  });

  it.each([
    ["lib/core/a.ts", "../qmp/index.ts", "core may not import qmp"],
    ["lib/qmp/a.ts", "../store/index.ts", "qmp may not import store"],
    ["lib/netcfg/a.ts", "../host/index.ts", "netcfg may not import host"],
    ["lib/host/a.ts", "../netcfg/index.ts", "host may not import netcfg"],
    ["lib/substrate/a.ts", "../clone/index.ts", "substrate may not import clone"],
    ["lib/pool/a.ts", "../index.ts", "pool may not import index"],
    ["lib/pool/deep/a.ts", "../../cluster/index.ts", "pool may not import cluster"],
    ["daemon/a.ts", "../cli/index.ts", "daemon may not import cli"],
  ])("forbid %s to import %s", (path, specifier, problem) => {
    expect(problemsOf({ [path]: `import { x } from "${specifier}";` })).toEqual([expect.stringContaining(problem)]);
  });

  it("hold for types, re-exports, side effects and dynamic imports", () => {
    for (const statement of [
      `import type { X } from "../pool/index.ts";`,
      `import {\n  type X,\n  y,\n} from "../pool/index.ts";`,
      `export * from "../pool/index.ts";`,
      `export type { X } from "../pool/index.ts";`,
      `import "../pool/index.ts";`,
      `const pool = await import("../pool/index.ts");`,
      `type X = import("../pool/index.ts").X;`,
    ]) {
      expect(problemsOf({ "lib/core/a.ts": statement }), statement).toHaveLength(1);
    }
  });

  it("forbid a file inside another folder", () => {
    expect(problemsOf({ "lib/qmp/a.ts": `import { x } from "../core/ids.ts";` })).toEqual([
      "lib/qmp/a.ts:1: imports lib/core/ids.ts; of another folder only index.ts may be imported",
    ]);
  });

  it("forbid what is outside of the library, and the library by its own name", () => {
    expect(problemsOf({ "lib/qmp/a.ts": `import { x } from "../../test/support/fake.ts";` })).toHaveLength(1);
    expect(problemsOf({ "lib/pool/a.ts": `import { x } from "vm-substrate";` })).toHaveLength(1);
  });

  it("want a place for a new folder, and nothing but index.ts beside the folders", () => {
    expect(problemsOf({ "lib/novel/a.ts": "export const a = 1;" })).toHaveLength(1);
    expect(problemsOf({ "lib/util.ts": "export const a = 1;" })).toHaveLength(1);
  });
});

describe("the page", () => {
  it("may import types of the API, packages and files of its own", () => {
    expect(
      problemsOf({
        "web/state/a.ts": `import type { VmView } from "../../api/index.ts";\nimport { b } from "./b.ts";`,
        "web/views/c.tsx": `import { useState } from "preact/hooks";\nimport "../style.css";`,
      }),
    ).toEqual([]);
  });

  it.each([
    ["values of the API", `import { vmSchema } from "../../api/index.ts";`],
    ["values of the API beside types", `import { type VmView, vmSchema } from "../../api/index.ts";`],
    ["the library", `import type { Vm } from "../../lib/index.ts";`],
    ["the client", `import { connect } from "../../client/index.ts";`],
    ["what only Node has", `import { readFile } from "node:fs/promises";`],
  ])("may not import %s", (_, text) => {
    expect(problemsOf({ "web/views/a.tsx": text })).toEqual([expect.stringContaining("the page")]);
  });
});

describe("examples and the demo", () => {
  it("may import the package, Node and files of their own", () => {
    expect(
      problemsOf({
        "examples/gaming/main.ts": `import { Pool } from "vm-substrate";\nimport "./match.ts";\nimport "node:fs";`,
        "scripts/demo.ts": `import { QmpClient } from "vm-substrate/qmp";`,
        "scripts/doctor.ts": `import { probe } from "../lib/host/index.ts";`,
      }),
    ).toEqual([]);
  });

  it.each([
    ["examples/gaming/main.ts", "../../lib/index.ts"],
    ["examples/gaming/main.ts", "../mpi/run.ts"],
    ["examples/gaming/main.ts", "ws"],
    ["scripts/demo.ts", "../dist/lib/index.js"],
  ])("%s may not import %s", (path, specifier) => {
    expect(problemsOf({ [path]: `import { x } from "${specifier}";` })).toHaveLength(1);
  });
});

describe("packages with one place", () => {
  it.each(["eventemitter3", "nanoid", "ssh2"])("%s in two files is a problem", (name) => {
    const text = `import { x } from "${name}";`;
    expect(problemsOf({ "lib/core/a.ts": text })).toEqual([]);
    expect(problemsOf({ "lib/core/a.ts": text, "lib/pool/b.ts": text })).toEqual([expect.stringContaining(name)]);
  });

  it("ipaddr.js stays under lib/netcfg", () => {
    expect(problemsOf({ "lib/netcfg/a.ts": `import ipaddr from "ipaddr.js";` })).toEqual([]);
    expect(problemsOf({ "lib/host/a.ts": `import ipaddr from "ipaddr.js";` })).toHaveLength(1);
  });
});

describe("other rules", () => {
  it("find a cycle, once", () => {
    expect(
      problemsOf({
        "lib/core/a.ts": `import "./b.ts";`,
        "lib/core/b.ts": `import "./c.ts";`,
        "lib/core/c.ts": `import type { A } from "./a.ts";`,
        "lib/core/d.ts": `import "./a.ts";`,
      }),
    ).toEqual(["import cycle: lib/core/a.ts -> lib/core/b.ts -> lib/core/c.ts -> lib/core/a.ts"]);
  });

  it("find a file of more than 400 lines", () => {
    expect(problemsOf({ "lib/core/a.ts": "// line\n".repeat(400) })).toEqual([]);
    expect(problemsOf({ "lib/core/a.ts": "// line\n".repeat(401) })).toHaveLength(1);
  });

  it.each([
    `import { exec } from "node:child_process";`,
    `import { execSync as run } from "child_process";`,
    `import * as child_process from "node:child_process";\nchild_process.exec("ls");`,
    `spawn("ls", { shell: true });`,
  ])("find a shell in %s", (text) => {
    expect(problemsOf({ "lib/host/a.ts": text })).toHaveLength(1);
  });

  it("leave execFile, regular expressions and comments alone", () => {
    const text = [
      `import { execFile, spawn } from "node:child_process";`,
      "// never shell: true",
      "const match = /a/.exec(line);",
    ].join("\n");
    expect(problemsOf({ "lib/host/a.ts": text })).toEqual([]);
  });
});

describe("importsOf", () => {
  it("gives specifier, clause and line", () => {
    expect(importsOf(`// first\nimport {\n  a,\n  b,\n} from "x";\nexport { c } from './y.ts';`)).toEqual([
      { specifier: "x", clause: "{\n  a,\n  b,\n}", line: 2 },
      { specifier: "./y.ts", clause: "{ c }", line: 6 },
    ]);
  });

  it("ignores what is written in comments", () => {
    expect(importsOf(`/* import "a"; */\n/**\n import { b } from "b";\n */\n// import("c")`)).toEqual([]);
  });

  it("is not led astray by quotes, slashes and backquotes in literals", () => {
    const source = [
      `const url = "http://x/*";`,
      "const quote = /[\"'`/]/.test(url);",
      `const text = \`it's \${url} // not a comment\`;`,
      `const glob = \`\${\`\${url}/\`}/**/*.ts\`;`,
      `const later = await import("./later.ts");`,
    ].join("\n");
    expect(importsOf(source).map(({ specifier }) => specifier)).toEqual(["./later.ts"]);
  });
});

describe("withoutComments", () => {
  it("keeps every other character in its place", () => {
    const source = `a /* b\nc */ d // e\n"// f"`;
    const code = withoutComments(source);
    expect(code).toBe(`a     \n     d     \n"// f"`);
    expect(code).toHaveLength(source.length);
  });
});
