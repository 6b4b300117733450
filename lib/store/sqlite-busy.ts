/** SQLITE_BUSY, of which the low byte is 5. Source: sqlite.org/rescode.html */
export function isBusy(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && (Number(error.errcode) & 0xff) === 5;
}
