import { Daemon } from "../../daemon/index.ts";

// A daemon in a process of its own, to be killed: its configuration is in the first argument, as JSON.
const daemon = await Daemon.start(JSON.parse(process.argv[2] ?? "{}"));
console.log(JSON.stringify({ socket: daemon.place.socket, url: daemon.url ?? null }));
process.on("SIGTERM", () => void daemon.stop().then(() => process.exit(0)));
