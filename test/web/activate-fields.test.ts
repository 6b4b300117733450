import { describe, expect, it } from "vitest";
import { activateBodySchema } from "../../api/index.ts";
import { type ActivateFields, activateBody, substrateChoices } from "../../web/state/activate-fields.ts";
import { parseDuration } from "../../web/state/duration.ts";
import { parseLabels } from "../../web/state/labels.ts";
import { fakeSubstrate } from "../support/fake-views.ts";

const FIELDS: ActivateFields = { substrate: "mini", count: "2", hostname: "", labels: "", ttl: "", wait: false };

describe("activateBody", () => {
  it("asks for nothing that was not typed", () => {
    expect(activateBody(FIELDS)).toEqual({ body: { count: 2, mode: "atomic", spec: { substrate: "mini" } } });
  });

  it("gives what the API takes", () => {
    const read = activateBody({
      ...FIELDS,
      hostname: " web-{index} ",
      labels: "match=17, canary",
      ttl: "1h 30m",
      wait: true,
    });
    if ("problem" in read) throw new Error(read.problem);
    expect(activateBodySchema.parse(read.body)).toEqual({
      count: 2,
      mode: "atomic",
      coldBoot: false,
      spec: {
        substrate: "mini",
        hostname: "web-{index}",
        labels: { match: "17", canary: "" },
        ttlMs: 5_400_000,
        wait: true,
      },
    });
  });

  it.each([
    [{ count: "0" }, /whole number/],
    [{ count: "1.5" }, /whole number/],
    [{ count: "2000" }, /1 to 1024/],
    [{ ttl: "soon" }, /"soon" is no length/],
    [{ ttl: "0" }, /no length/],
    [{ labels: "=x" }, /no key/],
    [{ labels: "a=1,a=2" }, /twice/],
  ])("says what is wrong with %j", (change, problem) => {
    const read = activateBody({ ...FIELDS, ...change });
    expect("problem" in read ? read.problem : read).toMatch(problem);
  });
});

describe("parseDuration", () => {
  it.each([
    ["90s", 90_000],
    ["30 min", 1_800_000],
    ["30m", 1_800_000],
    ["1h 30m", 5_400_000],
    ["1.5 h", 5_400_000],
    ["2d", 172_800_000],
    ["15", 900_000],
    ["", undefined],
    ["h", undefined],
    ["5 weeks", undefined],
    ["-5 min", undefined],
  ])("%j is %j", (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });
});

it("labels keep what comes after the first equals sign, and any key", () => {
  expect(parseLabels("url=http://x?a=b\n__proto__=1")).toEqual({
    labels: Object.fromEntries([
      ["url", "http://x?a=b"],
      ["__proto__", "1"],
    ]),
  });
});

it("offers each name, and then each version, the newest first", () => {
  const substrates = [
    fakeSubstrate({ version: 1 }),
    fakeSubstrate({ version: 2 }),
    fakeSubstrate({ name: "debian", version: 1 }),
  ];
  expect(substrateChoices(substrates)).toEqual(["debian", "mini", "debian@1", "mini@2", "mini@1"]);
});
