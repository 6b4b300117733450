import { filePart } from "../file-part.ts";

/**
 * What the guest's next boot starts its generator with. 32 bytes are its whole state since Linux 5.18; systemd-random-seed
 * writes 512 for kernels before, and takes a file of any length. Source: systemd-random-seed.service(8), random.c.
 */
export const randomSeed = filePart("random seed", (identity, { identity: { randomSeed: path } }) =>
  path === undefined ? [] : [{ path, mode: 0o600, content: identity.randomSeed, secret: true }],
);
