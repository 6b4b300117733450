import { describe, expect, it } from "vitest";
import { type FlattenOptions, flattenDisk } from "../../lib/clone/index.ts";
import type { Monitor } from "../../lib/host/index.ts";
import { Paths } from "../../lib/host/index.ts";

const BASE = "/substrate/disk.qcow2";
const COPYING = [{ device: "flatten0", type: "stream", status: "running", offset: 0, len: 100 }];

/** A monitor that answers by the name of a command, and the commands that it was given. */
function monitorOf(answers: Readonly<Record<string, () => unknown>>) {
  const commands: string[] = [];
  const execute = async (command: string) => {
    commands.push(command);
    return answers[command]?.() ?? {};
  };
  return { commands, instance: { qmp: { execute: execute as unknown as Monitor["execute"] } } };
}

function optionsFor(more: Partial<FlattenOptions> = {}): FlattenOptions {
  const paths = new Paths({ stateDir: import.meta.dirname });
  const signal = new AbortController().signal;
  return { id: "a", base: BASE, paths, failpoint: () => {}, signal, ...more };
}

const DISK = [{ qdev: "/machine/peripheral/blk0/virtio-backend", inserted: { "node-name": "disk0" } }];
const node = (name: string, file: string, more: object = {}) => ({
  "node-name": name,
  drv: "qcow2",
  file,
  ro: false,
  image: { "virtual-size": 1, "actual-size": 1 },
  ...more,
});
const LONG = [node("disk0", "/vm/overlay", { backing_file: "/forks/1" }), node("#1", "/forks/1"), node("#0", BASE)];

describe("flattenDisk", () => {
  it("gives a job up that gets no further, and ends it", async () => {
    let isRunning = false;
    const { commands, instance } = monitorOf({
      "query-block": () => DISK,
      "query-named-block-nodes": () => LONG,
      "query-block-jobs": () => (isRunning ? COPYING : []),
      "block-stream": () => {
        isRunning = true;
      },
      "block-job-cancel": () => {
        isRunning = false;
      },
    });
    const flattening = flattenDisk(instance, optionsFor({ stallMs: 1 }));
    await expect(flattening).rejects.toMatchObject({ code: "TIMEOUT" });
    expect(commands).toContain("block-job-cancel");
    expect(isRunning).toBe(false);
  });

  it("begins nothing for which there is no room", async () => {
    const huge = { image: { "virtual-size": 1, "actual-size": 2 ** 60 } };
    const { commands, instance } = monitorOf({
      "query-block-jobs": () => [],
      "query-block": () => DISK,
      "query-named-block-nodes": () => [LONG[0], node("#1", "/forks/1", huge), node("#0", BASE)],
    });
    await expect(flattenDisk(instance, optionsFor())).rejects.toMatchObject({ code: "INSUFFICIENT_DISK" });
    expect(commands).not.toContain("block-stream");
  });

  it("ends the job of an earlier owner before it asks for anything else", async () => {
    let isRunning = true;
    const { commands, instance } = monitorOf({
      "query-block-jobs": () => (isRunning ? COPYING : []),
      "block-job-cancel": () => {
        isRunning = false;
      },
      "query-block": () => {
        throw new Error("enough");
      },
    });
    await expect(flattenDisk(instance, optionsFor())).rejects.toThrow("enough");
    expect(commands).toEqual(["query-block-jobs", "block-job-cancel", "query-block-jobs", "query-block"]);
  });

  it("is not done while QEMU has anything of an instant open", async () => {
    const options = optionsFor();
    const open = { ...node("#file", options.paths.instant("1").disk), drv: "file" };
    const { instance } = monitorOf({
      "query-block-jobs": () => [],
      "query-block": () => DISK,
      "query-named-block-nodes": () => [node("disk0", "/vm/overlay", { backing_file: BASE }), node("#0", BASE), open],
    });
    await expect(flattenDisk(instance, options)).rejects.toMatchObject({ code: "FORK_FAILED" });
  });

  it("refuses a disk that is on another substrate's", async () => {
    const { commands, instance } = monitorOf({
      "query-block-jobs": () => [],
      "query-block": () => DISK,
      "query-named-block-nodes": () => LONG,
    });
    await expect(flattenDisk(instance, optionsFor({ base: "/other" }))).rejects.toMatchObject({ code: "FORK_FAILED" });
    expect(commands).not.toContain("block-stream");
  });
});
