import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { open, readFile, stat } from "node:fs/promises";
import { messageOf } from "../lib/core/index.ts";
import { VmSubstrateError } from "../lib/index.ts";

export type Scope = "read" | "write";

/** 256 bits, as base64url. */
const TOKEN_BYTES = 32;
const LINE = /^(read|write) ([A-Za-z0-9_-]{43,256})$/;

/**
 * The tokens of a daemon's TCP address: a file of lines "read TOKEN" and "write TOKEN", comments begin with #. Only digests are
 * kept, so that comparing takes the same time wherever two differ.
 */
export class Tokens {
  readonly #tokens: readonly { readonly scope: Scope; readonly digest: Buffer }[];

  private constructor(tokens: readonly { readonly scope: Scope; readonly token: string }[]) {
    this.#tokens = tokens.map(({ scope, token }) => ({ scope, digest: digestOf(token) }));
  }

  /**
   * Makes a file with one token of each scope where there is none.
   * @throws VmSubstrateError INVALID_ARGUMENT, UNSAFE_DIRECTORY, HOST_IO_FAILED
   */
  static async load(file: string): Promise<Tokens> {
    await create(file);
    return new Tokens(await readTokens(file));
  }

  /** The greatest scope of a token; undefined for an unknown one. */
  scopeOf(token: string): Scope | undefined {
    const digest = digestOf(token);
    const known = this.#tokens.filter((one) => timingSafeEqual(one.digest, digest));
    return known.find(({ scope }) => scope === "write")?.scope ?? known[0]?.scope;
  }
}

/** The tokens of a file, in its order. @throws VmSubstrateError INVALID_ARGUMENT, UNSAFE_DIRECTORY when others may read it */
export async function readTokens(file: string): Promise<{ readonly scope: Scope; readonly token: string }[]> {
  const { mode, uid } = await stat(file);
  if ((mode & 0o077) !== 0 || (uid !== process.getuid?.() && uid !== 0)) {
    const message = `${file} holds tokens and can be used by others; expected mode 600 and this user's`;
    throw new VmSubstrateError("UNSAFE_DIRECTORY", message, { details: { path: file } });
  }
  const lines = (await readFile(file, "utf8")).split("\n").map((line) => line.trim());
  return lines
    .map((line, i) => ({ line, number: i + 1 }))
    .filter(({ line }) => line !== "" && !line.startsWith("#"))
    .map(({ line, number }) => {
      const [, scope, token] = LINE.exec(line) ?? [];
      if (scope === undefined || token === undefined) {
        const message = `${file}:${number}: expected "read TOKEN" or "write TOKEN", with at least 43 characters of base64url`;
        throw new VmSubstrateError("INVALID_ARGUMENT", message);
      }
      return { scope: scope === "write" ? "write" : "read", token };
    });
}

async function create(file: string): Promise<void> {
  try {
    await using made = await open(file, "wx", 0o600);
    const lines = (["read", "write"] as const).map(
      (scope) => `${scope} ${randomBytes(TOKEN_BYTES).toString("base64url")}`,
    );
    await made.writeFile(`${lines.join("\n")}\n`);
    await made.sync();
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "EEXIST") return;
    throw new VmSubstrateError("HOST_IO_FAILED", `${file} cannot be made: ${messageOf(cause)}`, { cause });
  }
}

function digestOf(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}
