import { fileOperation, HELPER_READ_MAX_BYTES } from "../helper-protocol.ts";
import type { Identity } from "./identity.ts";
import { type Asked, type Expectation, exactPart, type IdentityPart, unverified } from "./part.ts";
import type { PersonaliseTarget } from "./profile.ts";

export interface PartFile {
  readonly path: string;
  readonly mode: number;
  readonly content: string | Uint8Array;
  /** A private key: an error says only that it is another one. */
  readonly secret?: boolean;
}

/** A part that is files, whole and with no other content. */
export function filePart(
  name: string,
  files: (identity: Identity, target: PersonaliseTarget) => readonly PartFile[],
): IdentityPart {
  const secretPaths = (identity: Identity, target: PersonaliseTarget) =>
    files(identity, target).some(({ secret }) => secret);
  const exact = exactPart(name, (asked, identity, target) =>
    files(identity, target).map((file) => expectation(asked, file)),
  );
  return {
    ...exact,
    verify: (answers, asked, identity, target) => {
      try {
        exact.verify(answers, asked, identity, target);
      } catch (error) {
        if (asked === "read" && secretPaths(identity, target)) throw unverified(name, "(secret)", "(another)");
        throw error;
      }
    },
  };
}

function expectation(asked: Asked, { path, mode, content }: PartFile): Expectation {
  const bytes = Buffer.from(content);
  if (asked === "set") return { operation: fileOperation(path, mode, bytes), answer: `${path},${bytes.length}` };
  const beginning = bytes.subarray(0, HELPER_READ_MAX_BYTES).toString("base64");
  return { operation: { name: "read", value: path }, answer: `${path},${beginning}` };
}
