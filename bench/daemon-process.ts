import { Daemon } from "../daemon/index.ts";

// The daemon that is measured, in a process of its own: its configuration is in the first argument, as JSON.
const daemon = await Daemon.start(JSON.parse(process.argv[2] ?? "{}"));
console.log(JSON.stringify({ socket: daemon.place.socket }));
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => void daemon.stop().then(() => process.exit(0)));
}
