#!/usr/bin/env node
import { enableCompileCache } from "node:module";
import { fileURLToPath } from "node:url";

enableCompileCache();
const [{ runCli }, { processIo }] = await Promise.all([import("./program.ts"), import("./io.ts")]);
const code = await runCli(process.argv.slice(2), processIo(fileURLToPath(import.meta.url)));
// Not only `exitCode`: what still reads standard input would keep the process.
process.exit(code);
