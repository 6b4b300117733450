import { filePart } from "../file-part.ts";

/** Replaces the file, also by an empty one: nobody's key may stay from before. Source: sshd(8). */
export const authorizedKeys = filePart("authorized keys", (identity, { identity: { authorizedKeys: path } }) =>
  path === undefined
    ? []
    : [{ path, mode: 0o600, content: identity.authorizedKeys.map((line) => `${line}\n`).join("") }],
);
