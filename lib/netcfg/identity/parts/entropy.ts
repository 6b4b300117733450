import { exactPart } from "../part.ts";

/**
 * RNDADDENTROPY and RNDRESEEDCRNG: two clones return equal bytes from /dev/urandom until this is done. Nothing of it can
 * be read back. Source: random(4).
 */
export const entropy = exactPart("entropy", (asked, identity) =>
  asked === "read"
    ? []
    : [
        {
          operation: { name: "entropy", value: identity.entropy.toString("base64") },
          answer: String(identity.entropy.length),
        },
      ],
);
