/** What to look for in a guest. */
export interface Search {
  /** `*` matches anything, also across folders. */
  readonly patterns: readonly string[];
  readonly except: readonly string[];
  /** Only regular files, and only those that hold something. */
  readonly filled?: boolean;
}

/** find(1) rather than a shell's globbing: patterns stay arguments. Deepest first, so that folders are empty by their turn. */
export function findArguments({ patterns, except, filled = false }: Search): string[] {
  const any = patterns.flatMap((pattern, i) => [...(i === 0 ? [] : ["-o"]), "-path", pattern]);
  const but = except.flatMap((pattern) => ["!", "-path", pattern]);
  return [
    "find",
    ...rootsOf(patterns),
    "-depth",
    "(",
    ...any,
    ")",
    ...but,
    ...(filled ? ["-type", "f", "-size", "+0"] : []),
  ];
}

/** As find's -path does. */
export function matches(pattern: string, path: string): boolean {
  const parts = pattern.split("*").map((part) => part.replaceAll(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`, "s").test(path);
}

/** The folders above the first wildcard of each, without those that are below another. */
function rootsOf(patterns: readonly string[]): string[] {
  const folders = patterns.map((pattern) => {
    const fixed = pattern.split("*")[0] ?? "";
    return fixed.slice(0, Math.max(1, fixed.lastIndexOf("/")));
  });
  const unique = [...new Set(folders)].toSorted();
  return unique.filter((folder) => !unique.some((other) => folder !== other && folder.startsWith(`${other}/`)));
}
