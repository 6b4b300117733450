import { constants } from "node:fs";
import { access, type FileHandle, open, stat } from "node:fs/promises";
import { resolve } from "node:path";

/** Where execvp(3) looks when there is no PATH. */
const DEFAULT_PATH = "/bin:/usr/bin";
/** Source: elf(5). */
const ELF_HEADER_SIZE = 64;
const ELF_64_LITTLE_ENDIAN = Buffer.from("7f454c460201", "hex");
const MACHINE_X86_64 = 62;
const PROGRAM_HEADER_SIZE = 56;
const MAX_PROGRAM_HEADERS = 256;
const INTERPRETER = 3;
const SET_ID_BITS = 0o6000;

/** The file that a program's name stands for, as execvp(3) finds it; undefined when there is none. */
export async function findExecutable(program: string, path = process.env.PATH): Promise<string | undefined> {
  if (program.includes("/")) return resolve(program);
  for (const dir of (path ?? DEFAULT_PATH).split(":")) {
    const file = resolve(dir, program);
    const isExecutable = await access(file, constants.X_OK).then(
      async () => (await stat(file)).isFile(),
      () => false,
    );
    if (isExecutable) return file;
  }
  return undefined;
}

/**
 * Why a library could not be preloaded into an executable, or undefined when nothing speaks against it. It looks at the
 * file and runs nothing: a script would run its interpreter, and all that it starts, with the library.
 */
export async function obstacleToPreload(executable: string): Promise<string | undefined> {
  let file: FileHandle | undefined;
  try {
    file = await open(executable);
    if (((await file.stat()).mode & SET_ID_BITS) !== 0) return "it is setuid or setgid";
    const header = await readAt(file, 0, ELF_HEADER_SIZE);
    if (!header.subarray(0, ELF_64_LITTLE_ENDIAN.length).equals(ELF_64_LITTLE_ENDIAN))
      return "it is not an ELF program";
    if (header.readUInt16LE(18) !== MACHINE_X86_64) return "it is for another processor";
    const count = header.readUInt16LE(56);
    if (header.readUInt16LE(54) !== PROGRAM_HEADER_SIZE || count > MAX_PROGRAM_HEADERS)
      return "its headers are unusual";
    const headers = await readAt(file, Number(header.readBigUInt64LE(32)), count * PROGRAM_HEADER_SIZE);
    for (let i = 0; i < count; i++) {
      if (headers.readUInt32LE(i * PROGRAM_HEADER_SIZE) === INTERPRETER) return undefined;
    }
    return "it is statically linked";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    await file?.close();
  }
}

/** All `length` bytes, with zeros behind the file's end. */
async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  await file.read(buffer, 0, length, position);
  return buffer;
}
