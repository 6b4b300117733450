/** A process that owns a fork server: says which processes it has, and then waits to be killed, or leaves them. */
import { readFileSync } from "node:fs";
import { silentLogger } from "../../lib/core/index.ts";
import { ForkServer } from "../../lib/host/index.ts";

const [libraryDir = "", logFile = "", then] = process.argv.slice(2);
const binary = "/bin/sh";
const forkServer = ForkServer.start({ binary, libraryDir, logger: silentLogger });
const child = await forkServer.spawn({ binary, argv: ["-c", "exec sleep 60"], logFile });
if (then === "leave") child.detach(); // now nothing keeps Node from ending
const [server] = /(?<=^PPid:\s+)\d+/m.exec(readFileSync(`/proc/${child.pid}/status`, "utf8")) ?? [];
console.log(JSON.stringify([child.pid, Number(server)]));
