import { isVmSubstrateError, VmSubstrateError } from "../core/index.ts";
import type { HelperChannel, RequestOptions } from "./helper-channel.ts";
import { appendOperation, fileOperation, type HelperOperation } from "./helper-protocol.ts";
import { unverified } from "./identity/index.ts";

/** 60 000 characters of base64: with the longest path it stays below HELPER_REQUEST_MAX_BYTES. */
const FILE_PIECE_BYTES = 45_000;
const MAX_FILE_PATH_CHARS = 1024;
const MAX_FILE_MODE = 0o7777;
/** A path is a field of the helper's line: a comma would begin the next field, a space the next operation. */
const FILE_PATH = /^\/[\x21-\x2b\x2d-\x7e]+$/;

export interface GuestFile {
  /** Absolute, in a folder that exists; not a symbolic link. */
  readonly path: string;
  /** Permission bits, e.g. 0o600. The owner is root. */
  readonly mode: number;
  readonly content: string | Uint8Array;
}

/**
 * Files into a running guest without a process there, as many to a request as fit; a larger file comes by several, and
 * is seen growing meanwhile. `timeoutMs` is for each request.
 *
 * @throws VmSubstrateError INVALID_ARGUMENT before anything is written; GUEST_HELPER_FAILED (no such folder, a symbolic
 *   link), IDENTITY_UNVERIFIED, TIMEOUT, ABORTED
 */
export async function writeFiles(
  channel: HelperChannel,
  files: readonly GuestFile[],
  options: RequestOptions,
): Promise<void> {
  for (const file of files) requireGuestFile(file);
  for (const batch of batches(files.flatMap(pieces))) {
    const operations = batch.map(({ operation }) => operation);
    const answer = await channel.request(operations, options).catch((cause: unknown) => {
      throw isVmSubstrateError(cause, "GUEST_HELPER_FAILED") ? unwritten(batch, cause) : cause;
    });
    for (const [i, { expected }] of batch.entries()) {
      if (answer[i] !== expected) throw unverified("file", expected, answer[i] ?? "");
    }
  }
}

/** The helper names what it could not do, but not for which file. */
function unwritten(batch: readonly Piece[], cause: VmSubstrateError): VmSubstrateError {
  const paths = [...new Set(batch.map(({ path }) => path))];
  const message = `not all of ${paths.join(", ")} could be written: ${cause.message}; their folders must be there, and none may be a symbolic link`;
  return new VmSubstrateError("GUEST_HELPER_FAILED", message, { cause, details: { paths } });
}

/** @throws VmSubstrateError INVALID_ARGUMENT for a path or mode that the helper's protocol could not carry */
export function requireGuestFile({ path, mode }: Pick<GuestFile, "path" | "mode">): void {
  const wellFormed = FILE_PATH.test(path) && path.length <= MAX_FILE_PATH_CHARS;
  if (!wellFormed)
    throw new VmSubstrateError(
      "INVALID_ARGUMENT",
      `file ${JSON.stringify(path)}: an absolute path without spaces and commas is needed`,
    );
  if (!Number.isInteger(mode) || mode < 0 || mode > MAX_FILE_MODE)
    throw new VmSubstrateError("INVALID_ARGUMENT", `file ${path}: mode ${mode} is not between 0 and 0o7777`);
}

interface Piece {
  readonly path: string;
  readonly operation: HelperOperation;
  readonly expected: string;
  readonly bytes: number;
}

function pieces({ path, mode, content }: GuestFile): Piece[] {
  const all = Buffer.from(content);
  const first = all.subarray(0, FILE_PIECE_BYTES);
  const result: Piece[] = [
    {
      path,
      operation: fileOperation(path, mode, first),
      expected: `${path},${first.length}`,
      bytes: path.length + first.length,
    },
  ];
  for (let at = FILE_PIECE_BYTES; at < all.length; at += FILE_PIECE_BYTES) {
    const piece = all.subarray(at, at + FILE_PIECE_BYTES);
    const expected = `${path},${at + piece.length}`; // the file's size afterwards
    result.push({ path, operation: appendOperation(path, piece), expected, bytes: path.length + piece.length });
  }
  return result;
}

function batches(all: readonly Piece[]): Piece[][] {
  const result: Piece[][] = [];
  let room = 0;
  for (const piece of all) {
    const cost = piece.bytes + PIECE_OVERHEAD_BYTES;
    if (cost > room) {
      result.push([]);
      room = FILE_PIECE_BYTES + MAX_FILE_PATH_CHARS + PIECE_OVERHEAD_BYTES;
    }
    result.at(-1)?.push(piece);
    room -= cost;
  }
  return result;
}

/** Operation's name, mode and separators. */
const PIECE_OVERHEAD_BYTES = 24;
