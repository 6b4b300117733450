import { Daemon } from "../daemon/index.ts";

// The daemon that is measured, in a process of its own: its configuration is in the first argument, as JSON.
const daemon = await Daemon.start(JSON.parse(process.argv[2] ?? "{}"));
console.log(JSON.stringify({ socket: daemon.place.socket }));
// Whoever measures it asks what it holds when nothing is left to be collected; node --expose-gc.
process.on("message", () => {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  process.send?.(heapUsed + external);
});
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => void daemon.stop().then(() => process.exit(0)));
}
