import { describe, expect, it } from "vitest";
import { openFakeDaemon } from "../support/fake-daemon.ts";
import { ask } from "../support/raw-http.ts";

const SAMPLE = /^([a-z][a-z0-9_]*)(\{(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*\})? (-?[0-9.e+-]+|NaN|[+-]Inf)$/;

interface Scrape {
  readonly types: ReadonlyMap<string, string>;
  readonly helps: ReadonlyMap<string, string>;
  readonly samples: ReadonlyMap<string, number>;
}

/** Prometheus' text format, line by line. */
function parse(text: string): Scrape {
  const [types, helps, samples] = [new Map<string, string>(), new Map<string, string>(), new Map<string, number>()];
  for (const line of text.split("\n").filter(Boolean)) {
    const [, kind, name = "", rest = ""] = /^# (TYPE|HELP) (\S+) (.*)$/.exec(line) ?? [];
    if (kind === "TYPE") types.set(name, rest);
    else if (kind === "HELP") helps.set(name, rest);
    else {
      const [, sample, labels = "", value] = SAMPLE.exec(line) ?? [];
      expect(sample, line).toBeDefined();
      samples.set(`${sample}${labels}`, Number(value));
    }
  }
  return { types, helps, samples };
}

describe("what Prometheus is told", () => {
  it("can be read, and has names by its practices", async () => {
    await using fake = await openFakeDaemon();
    const { text, headers } = await ask(fake.daemon.place.socket, { path: "/metrics" });
    expect(headers["content-type"]).toMatch(/^text\/plain; version=0\.0\.4/);
    const { types, helps } = parse(text);
    expect(types.size).toBeGreaterThan(20);
    for (const [name, type] of types) {
      expect(name).toMatch(/^vm_substrate_[a-z0-9_]+$/);
      expect(helps.get(name), name).toMatch(/\S/);
      expect(name).not.toMatch(/_(ms|milliseconds|mib|kb|percent)(_|$)/);
      if (type === "counter") expect(name).toMatch(/_total$/);
      if (type === "histogram") expect(name).toMatch(/_(seconds|bytes)$/);
    }
  });

  it("moves with claims, failures, docks and requests", async () => {
    await using fake = await openFakeDaemon();
    const { pool } = fake;
    const scrape = async () => parse((await ask(fake.daemon.place.socket, { path: "/metrics" })).text).samples;
    const before = await scrape();
    expect(before.get('vm_substrate_vms{state="running"}')).toBe(0);
    await pool.dock("fake", { min: 1 });
    await pool.docked("fake", { count: 1 });
    await pool.dock("fake@1", { min: 0 });
    const [docked] = await pool.activate(1, { substrate: "fake" });
    const [cloned] = await pool.activate(1, { substrate: "fake", channel: "agent" });
    expect([docked?.origin, cloned?.origin]).toEqual(["docked", "cloned"]);
    await pool.activate(1, { substrate: "fake", run: { argv: ["false"] } }).catch(() => {});
    await cloned?.park();
    const { get } = bound(await scrape());
    for (const origin of ["docked", "cloned"]) {
      expect(get(`vm_substrate_activation_seconds_count{origin="${origin}",substrate="fake"}`)).toBe(1);
      expect(get(`vm_substrate_activation_seconds_sum{origin="${origin}",substrate="fake"}`)).toBeGreaterThan(0);
      expect(get(`vm_substrate_activation_seconds_bucket{le="+Inf",origin="${origin}",substrate="fake"}`)).toBe(1);
    }
    expect(get('vm_substrate_activation_phase_seconds_count{phase="personalise",origin="cloned"}')).toBe(1);
    expect(get('vm_substrate_failures_total{what="activate",code="RUN_FAILED"}')).toBe(1);
    expect(get('vm_substrate_vms{state="running"}')).toBe(1);
    expect(get('vm_substrate_vms{state="parked"}')).toBe(1);
    expect(get('vm_substrate_dock_target{substrate="fake",version="1",pinned="false"}')).toBe(1);
    // The same version, docked for itself.
    expect(get('vm_substrate_dock_target{substrate="fake",version="1",pinned="true"}')).toBe(0);
    expect(get('vm_substrate_http_request_seconds_count{method="POST",route="/v1/vms",status="201"}')).toBe(2);
    await pool.undock("fake");
    expect((await scrape()).has('vm_substrate_dock_target{substrate="fake",version="1",pinned="false"}')).toBe(false);
  });

  it("has no more series for addresses that are not served", async () => {
    await using fake = await openFakeDaemon();
    const { socket } = fake.daemon.place;
    for (let i = 0; i < 20; i++) await ask(socket, { path: `/v1/nothing-${i}` });
    const { text } = await ask(socket, { path: "/metrics" });
    expect(text).not.toContain("nothing-");
    expect(text.match(/http_request_seconds_count\{.*status="404"\}/g)).toHaveLength(1);
  });
});

function bound<K, V>(map: ReadonlyMap<K, V>): { readonly get: (key: K) => V | undefined } {
  return { get: (key) => map.get(key) };
}
