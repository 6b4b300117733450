import { createRequire } from "node:module";

// By the package's own name: the folder that this file is in differs between a checkout and an installed package.
const { version } = createRequire(import.meta.url)("vm-substrate/package.json") as { version: string };

/** Of vm-substrate. */
export const PACKAGE_VERSION = version;
