import { describe, expect, it } from "vitest";
import { decodeAnswer, encodeRequest, type HelperOperation } from "../../../lib/netcfg/helper-protocol.ts";
import { GuestAgent } from "../../../lib/qmp/index.ts";
import { awaitReady, probeName, probeSchema, type ReadyProbe } from "../../../lib/substrate/ready/index.ts";
import { FakeServer } from "../../support/fake-line-server.ts";
import { FakeGuest } from "../../support/fake-qemu-guest.ts";

const OPTIONS = { timeoutMs: 250, signal: undefined };

async function ready(probes: readonly ReadyProbe[], files: Readonly<Record<string, string>> = {}): Promise<void> {
  const fake = new FakeGuest({});
  for (const [path, content] of Object.entries(files)) fake.agent.files.set(path, Buffer.from(content));
  await using server = await FakeServer.listen(fake.agent.protocol);
  await using agent = await GuestAgent.connect(server.path, { timeoutMs: 5000 });
  const helper = {
    async request(operations: readonly HelperOperation[]) {
      const line = fake.helper.serve(encodeRequest("id1", operations).trimEnd());
      return decodeAnswer("id1", operations, line.trimEnd()) ?? [];
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  await awaitReady(probes, { agent, helper }, OPTIONS);
}

const LATE: ReadyProbe = { probe: "port", port: 8080 };
const TIMEOUT = { code: "TIMEOUT" };

describe("a probe of readiness", () => {
  it.each<[ReadyProbe, Readonly<Record<string, string>>]>([
    [{ probe: "agent" }, {}],
    [{ probe: "helper" }, {}],
    [{ probe: "port", port: 22 }, {}],
    [{ probe: "command", argv: ["true"] }, {}],
    [{ probe: "log", file: "/var/log/app", contains: "ready to" }, { "/var/log/app": "now ready to serve\n" }],
    [{ probe: "unit", unit: "app.service" }, { "/run/active": "app.service" }],
    [{ probe: "any", of: [LATE, { probe: "agent" }] }, {}],
    [{ probe: "all", of: [{ probe: "agent" }, { probe: "port", port: 22 }] }, {}],
  ])("%j passes", (probe, files) => ready([probe], files));

  it.each<[ReadyProbe, Readonly<Record<string, string>>]>([
    [LATE, {}],
    [{ probe: "command", argv: ["false"] }, {}],
    [{ probe: "log", file: "/var/log/app", contains: "ready to" }, { "/var/log/app": "not yet" }],
    [{ probe: "log", file: "/var/log/none", contains: "ready to" }, {}],
    [{ probe: "http", port: 80, path: "/", status: 200 }, {}],
    [{ probe: "any", of: [LATE, { probe: "command", argv: ["false"] }] }, {}],
    [{ probe: "all", of: [{ probe: "agent" }, LATE] }, {}],
  ])("%j that never passes is late", (probe, files) => expect(ready([probe], files)).rejects.toMatchObject(TIMEOUT));

  it("has a deadline of its own", async () => {
    await expect(ready([{ ...LATE, timeoutMs: 20 }])).rejects.toMatchObject({ ...TIMEOUT, details: { timeoutMs: 20 } });
  });

  it("of a unit says what the unit has logged", async () => {
    await expect(ready([{ probe: "unit", unit: "app.service" }])).rejects.toMatchObject({
      code: "BUILD_FAILED",
      message: expect.stringMatching(/unit app\.service.*its log ends with/),
    });
  });
});

describe("a probe's text", () => {
  it("names it for people", () => {
    const all: ReadyProbe = { probe: "all", of: [{ probe: "unit", unit: "a.service" }, LATE] };
    expect(probeName(all)).toBe("all of (unit a.service, port 8080)");
    expect(probeName({ probe: "http", port: 80, path: "/x", status: 200 })).toBe("http 80/x");
  });

  it.each([
    { probe: "unit", unit: "--now" },
    { probe: "unit", unit: "a b.service" },
    { probe: "port", port: 0 },
    { probe: "port" },
    { probe: "command", argv: [] },
    { probe: "command", argv: ["a\nb"] },
    { probe: "http", path: "x" },
    { probe: "http", path: "/a b" },
    { probe: "http", path: "/a,b" },
    { probe: "log", file: "relative", contains: "x" },
    { probe: "any", of: [] },
    { probe: "agent", more: 1 },
    { probe: "agent", timeoutMs: 0 },
    {},
  ])("is refused: %j", (probe) => {
    expect(probeSchema.safeParse(probe).success).toBe(false);
  });
});
