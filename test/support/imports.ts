/** One import, re-export or dynamic import with a literal specifier. */
export interface ImportStatement {
  readonly specifier: string;
  /** What stands between `import` or `export` and `from`; empty for side-effect and dynamic imports. */
  readonly clause: string;
  readonly line: number;
}

/** A source file: its path from the root of the repository, with slashes, and its text. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

const STATIC_IMPORT = /^[ \t]*(?:import|export)\b([^'"`;]*?)\bfrom\s*(["'])([^"'\n]+)\2/gm;
const SIDE_EFFECT_IMPORT = /^[ \t]*import\s*(["'])([^"'\n]+)\1/gm;
const DYNAMIC_IMPORT = /\bimport\s*\(\s*(["'`])([^"'`\n]+)\1/g;

/** Every import of a TypeScript source, type-only ones too, in the order of the text. */
export function importsOf(source: string): ImportStatement[] {
  const code = withoutComments(source);
  const found = [
    ...[...code.matchAll(STATIC_IMPORT)].map((m) => ({ at: m.index, clause: m[1] ?? "", specifier: m[3] ?? "" })),
    ...[...code.matchAll(SIDE_EFFECT_IMPORT)].map((m) => ({ at: m.index, clause: "", specifier: m[2] ?? "" })),
    ...[...code.matchAll(DYNAMIC_IMPORT)].map((m) => ({ at: m.index, clause: "", specifier: m[2] ?? "" })),
  ];
  return found
    .toSorted((a, b) => a.at - b.at)
    .map(({ at, clause, specifier }) => ({ specifier, clause: clause.trim(), line: lineAt(code, at) }));
}

function lineAt(text: string, index: number): number {
  return text.slice(0, index).split("\n").length;
}

// In the order in which they must be tried: a quote inside a comment opens no string, `//` in a string no comment, and a
// regular expression (told from a division by what stands before it) may hold both.
const TOKENS = new RegExp(
  [
    String.raw`(?<comment>\/\*[\s\S]*?\*\/|\/\/[^\n]*)`,
    String.raw`"(?:\\.|[^"\\\n])*"`,
    String.raw`'(?:\\.|[^'\\\n])*'`,
    // A template, with at most one more inside each of its placeholders.
    "`(?:\\\\[^]|\\$\\{(?:[^`}]|`[^`]*`)*\\}|[^`\\\\])*`",
    String.raw`(?<=(?:^|[(,=:[!&|?{};+*%<>~^]|\b(?:return|typeof|case|in|of))\s*)\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\/`,
  ].join("|"),
  "g",
);

/** The source with its comments blanked out; every other character keeps its place. */
export function withoutComments(source: string): string {
  return source.replace(TOKENS, (token, ...rest) => {
    const groups: unknown = rest.at(-1);
    const isComment = typeof groups === "object" && groups !== null && "comment" in groups && groups.comment;
    return isComment ? token.replace(/[^\n]/g, " ") : token;
  });
}

/**
 * What a folder may import: everything of a lower rank. Folders of one rank are strangers to each other.
 * `index` is the file lib/index.ts, the public API.
 */
const RANKS: Readonly<Record<string, number>> = {
  core: 0,
  qmp: 1,
  store: 1,
  netcfg: 2,
  host: 2,
  substrate: 3,
  clone: 4,
  pool: 5,
  cluster: 6,
  index: 7,
  api: 8,
  client: 9,
  daemon: 9,
  cli: 10,
  web: 10,
};

/** Beside lib/: what is built on the library. */
const TOP_FOLDERS = ["api", "client", "daemon", "cli", "web"];

/** Packages that have one place: a file, or a folder. */
const ONE_FILE_PACKAGES = ["eventemitter3", "nanoid", "ssh2"];
const FOLDER_OF_PACKAGE: Readonly<Record<string, string>> = { "ipaddr.js": "lib/netcfg/" };
const MAX_LINES = 400;
const OWN_PACKAGE = /^vm-substrate(?:\/[a-z]+)?$/;

/** `lib/qmp/client.ts` -> `qmp`, `lib/index.ts` -> `index`, `cli/main.ts` -> `cli`; undefined for what has no rank. */
function folderOf(path: string): string | undefined {
  if (path === "lib/index.ts") return "index";
  const [top, second, third] = path.split("/");
  if (top === "lib") return third === undefined ? undefined : second;
  return TOP_FOLDERS.includes(top ?? "") ? top : undefined;
}

/** The path that a relative specifier means; undefined for packages. */
function resolve(fromPath: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  const parts = fromPath.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

function isLibrary(path: string): boolean {
  return path.startsWith("lib/") || TOP_FOLDERS.includes(path.split("/")[0] ?? "");
}

function isOutsideUser(path: string): boolean {
  return path.startsWith("examples/") || path === "scripts/demo.ts";
}

/** Every breach of the rules of imports and of file size, as `path:line: what is wrong`; empty when there is none. */
export function architectureProblems(files: readonly SourceFile[]): string[] {
  return [
    ...files.filter((file) => isLibrary(file.path)).flatMap(directionProblems),
    ...files.filter((file) => file.path.startsWith("web/")).flatMap(pageProblems),
    ...files.filter((file) => isOutsideUser(file.path)).flatMap(outsideUserProblems),
    ...packageProblems(files.filter((file) => isLibrary(file.path))),
    ...files.filter((file) => isLibrary(file.path)).flatMap(shellProblems),
    ...files.filter((file) => file.path.startsWith("lib/")).flatMap(sizeProblems),
    ...cycleProblems(files.filter((file) => isLibrary(file.path))),
  ];
}

function directionProblems(file: SourceFile): string[] {
  const folder = folderOf(file.path);
  const rank = folder === undefined ? undefined : RANKS[folder];
  if (folder === undefined || rank === undefined) {
    return [`${file.path}: its folder has no place in the import order; give it one in test/support/imports.ts`];
  }
  return importsOf(file.text).flatMap(({ specifier, line }) => {
    const at = `${file.path}:${line}`;
    if (OWN_PACKAGE.test(specifier) && rank < 8) return [`${at}: the library imports itself by its package name`];
    const target = resolve(file.path, specifier);
    if (target === undefined) return [];
    const targetFolder = folderOf(target);
    if (targetFolder === folder) return [];
    const targetRank = targetFolder === undefined ? undefined : RANKS[targetFolder];
    if (targetRank === undefined) return [`${at}: imports ${target}, which is not part of the library`];
    if (targetRank >= rank) return [`${at}: ${folder} may not import ${targetFolder} (${specifier})`];
    if (target !== "lib/index.ts" && !/^(?:lib\/)?[^/]+\/index\.ts$/.test(target)) {
      return [`${at}: imports ${target}; of another folder only index.ts may be imported`];
    }
    return [];
  });
}

/** A browser gets what the page imports: of the API its types, which are gone by then, and nothing that Node alone has. */
function pageProblems(file: SourceFile): string[] {
  return importsOf(file.text).flatMap(({ specifier, clause, line }) => {
    const at = `${file.path}:${line}`;
    if (specifier.startsWith("node:")) return [`${at}: the page runs in a browser, which has no ${specifier}`];
    const target = resolve(file.path, specifier);
    if (target === undefined || target.startsWith("web/")) return [];
    const isTypeOfApi = target === "api/index.ts" && /^type\b/.test(clause);
    return isTypeOfApi
      ? []
      : [`${at}: the page imports types of api/ and nothing else from outside of web/ (${specifier})`];
  });
}

/** Examples and the demo see what a user sees: the package, Node, and files of their own. */
function outsideUserProblems(file: SourceFile): string[] {
  const own = /^(?:examples\/[^/]+|scripts)\//.exec(file.path)?.[0];
  return importsOf(file.text).flatMap(({ specifier, line }) => {
    if (specifier.startsWith("node:") || OWN_PACKAGE.test(specifier)) return [];
    const target = resolve(file.path, specifier);
    if (own !== undefined && target?.startsWith(own)) return [];
    return [`${file.path}:${line}: imports ${specifier}; only the package name vm-substrate is for users`];
  });
}

function packageProblems(files: readonly SourceFile[]): string[] {
  const importers = (name: string) =>
    files.filter(({ text }) =>
      importsOf(text).some(({ specifier }) => specifier === name || specifier.startsWith(`${name}/`)),
    );
  const scattered = ONE_FILE_PACKAGES.flatMap((name) => {
    const paths = importers(name).map(({ path }) => path);
    return paths.length > 1 ? [`${name} belongs into one file, but is imported by ${paths.join(", ")}`] : [];
  });
  const misplaced = Object.entries(FOLDER_OF_PACKAGE).flatMap(([name, folder]) =>
    importers(name)
      .filter(({ path }) => !path.startsWith(folder))
      .map(({ path }) => `${path}: imports ${name}, which belongs under ${folder}`),
  );
  return [...scattered, ...misplaced];
}

/** A shell would give meaning to characters of a host name or a path; argv arrays do not. */
function shellProblems(file: SourceFile): string[] {
  const code = withoutComments(file.text);
  const fromChildProcess = importsOf(file.text).filter(({ specifier }) => /^(?:node:)?child_process$/.test(specifier));
  return [
    ...fromChildProcess
      .filter(({ clause }) => /\bexec(?:Sync)?\b/.test(clause))
      .map(({ line }) => `${file.path}:${line}: imports exec from child_process, which runs a shell`),
    ...[...code.matchAll(/\b(?:child_process|childProcess|cp)\.exec(?:Sync)?\s*\(/g)].map(
      ({ index }) => `${file.path}:${lineAt(code, index)}: calls child_process.exec, which runs a shell`,
    ),
    ...[...code.matchAll(/\bshell["']?\s*:\s*true\b/g)].map(
      ({ index }) => `${file.path}:${lineAt(code, index)}: shell: true`,
    ),
  ];
}

function sizeProblems(file: SourceFile): string[] {
  const lines = file.text.replace(/\n$/, "").split("\n").length;
  return lines > MAX_LINES ? [`${file.path}: ${lines} lines; a file above ${MAX_LINES} is two files`] : [];
}

/** Type-only imports count: two files that need each other's types are one file, or want a third. */
function cycleProblems(files: readonly SourceFile[]): string[] {
  const paths = new Set(files.map(({ path }) => path));
  const edges = new Map(
    files.map(({ path, text }) => [
      path,
      importsOf(text)
        .map(({ specifier }) => resolve(path, specifier))
        .filter((target) => target !== undefined && paths.has(target)),
    ]),
  );
  const problems: string[] = [];
  const finished = new Set<string>();
  const visit = (path: string, trail: readonly string[]) => {
    if (finished.has(path)) return;
    const seenAt = trail.indexOf(path);
    if (seenAt >= 0) {
      problems.push(`import cycle: ${[...trail.slice(seenAt), path].join(" -> ")}`);
      return;
    }
    for (const target of edges.get(path) ?? []) if (target !== undefined) visit(target, [...trail, path]);
    finished.add(path);
  };
  for (const path of paths) visit(path, []);
  return problems;
}
