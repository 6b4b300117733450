import { join } from "node:path";
import { defineConfig } from "vitest/config";

/** Minutes of one processor each: guests of distributions, made and booted. They share nothing with the other integration tests. */
const DISTRIBUTIONS = ["debian", "cloud-image", "build-killed"].map((name) => `test/integration/${name}.test.ts`);
/** Of real guests: one file at a time, because two cores under TCG cannot give many guests their deadlines at once. */
const REAL = {
  globalSetup: ["test/support/integration-setup.ts"],
  fileParallelism: false,
  testTimeout: 120_000,
  hookTimeout: 300_000,
  sequence: { groupOrder: 2 },
};

// Unit tests never boot a VM; test/integration boots real QEMU, or a browser.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/integration/**"],
          testTimeout: 30_000,
          maxWorkers: 2, // they wait more than they work
          // Hundreds of processes load this project's modules: with it each of them starts in half the time.
          env: { NODE_COMPILE_CACHE: join(import.meta.dirname, "node_modules/.cache/tests") },
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          exclude: DISTRIBUTIONS,
          ...REAL,
        },
      },
      { test: { name: "distributions", include: DISTRIBUTIONS, ...REAL } },
    ],
  },
});
