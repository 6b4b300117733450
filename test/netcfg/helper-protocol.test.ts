import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isVmSubstrateError } from "../../lib/core/index.ts";
import {
  decodeAnswer,
  encodeRequest,
  fileOperation,
  HELPER_REQUEST_MAX_BYTES,
  type HelperOperation,
} from "../../lib/netcfg/helper-protocol.ts";

const OPERATIONS: HelperOperation[] = [
  { name: "hostname", value: "n-1" },
  { name: "clock", value: "" },
  { name: "read", value: "/etc/hostname" },
];
const failed = expect.objectContaining({ code: "GUEST_HELPER_FAILED" });

describe("encodeRequest", () => {
  it("is one line of fields", () => {
    expect(encodeRequest("id1", OPERATIONS)).toBe("id1 hostname=n-1 clock= read=/etc/hostname\n");
    expect(encodeRequest("id1", [])).toBe("id1\n");
  });

  it.each(["a b", "a\nb", "a\n", "a\r", "a\tb", "a\0", "é", "\u2028", "a\x7f"])("refuses the value %j", (value) => {
    expect(() => encodeRequest("id1", [{ name: "hostname", value }])).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });

  it("lets no value add an operation", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (value) => {
        try {
          const line = encodeRequest("id1", [{ name: "hostname", value }]);
          expect(line).toBe(`id1 hostname=${value}\n`);
          expect(line.trimEnd().split(/\s/)).toHaveLength(2);
        } catch (error) {
          expect(isVmSubstrateError(error, "INVALID_ARGUMENT")).toBe(true);
        }
      }),
    );
  });

  it("refuses what the helper would drop", () => {
    const value = "x".repeat(HELPER_REQUEST_MAX_BYTES - "i hostname=\n".length);
    expect(encodeRequest("i", [{ name: "hostname", value }])).toHaveLength(HELPER_REQUEST_MAX_BYTES);
    expect(() => encodeRequest("i", [{ name: "hostname", value: `${value}x` }])).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });
});

describe("decodeAnswer", () => {
  const decode = (line: string) => decodeAnswer("id1", OPERATIONS, line);

  it("gives the values in order", () => {
    expect(decode("id1 ok hostname=n-1 clock=1.5 read=/etc/hostname,bi0xCg==")).toEqual([
      "n-1",
      "1.5",
      "/etc/hostname,bi0xCg==",
    ]);
    expect(decodeAnswer("id1", [], "id1 ok")).toEqual([]);
  });

  it.each(["id2 ok hostname=n-1 clock=1.5 read=x", "", " id1 ok", "id12 ok", "ID1 ok", "ok", "\0"])(
    "ignores %j, which answers nothing of ours",
    (line) => {
      expect(decode(line)).toBeUndefined();
    },
  );

  it.each([
    ["no verdict", "id1"],
    ["another verdict", "id1 yes hostname=a clock=1 read=x"],
    ["too few fields", "id1 ok hostname=a clock=1"],
    ["too many fields", "id1 ok hostname=a clock=1 read=x mac=y"],
    ["another order", "id1 ok clock=1 hostname=a read=x"],
    ["another name", "id1 ok hostnames=a clock=1 read=x"],
    ["a field without a value", "id1 ok hostname clock=1 read=x"],
    ["a doubled space", "id1 ok  hostname=a clock=1 read=x"],
    ["a carriage return", "id1 ok hostname=a clock=1 read=x\r"],
    ["a control character", "id1 ok hostname=a\x1b[2J clock=1 read=x"],
    ["a byte beyond ASCII", "id1 ok hostname=\xe4 clock=1 read=x"],
  ])("refuses %s", (_, line) => {
    expect(() => decode(line)).toThrow(failed);
  });

  it("says which operation the helper could not do, in words of ours", () => {
    expect(() => decode("id1 error read 2")).toThrow(expect.objectContaining({ details: { operation: "read" } }));
    expect(() => decode("id1 error rm\x1b[2J 2")).toThrow(
      expect.objectContaining({ message: expect.stringMatching(/"\(unknown\)" \(ENOENT\)/) }),
    );
    for (const line of ["id1 error", "id1 error read", "id1 error read x y z"])
      expect(() => decode(line)).toThrow(failed);
  });

  it("says of which file, NIC or disk, what of secrets it is not, and what to do", () => {
    const fails = (operations: readonly HelperOperation[], line: string) => {
      try {
        return decodeAnswer("id1", operations, line);
      } catch (error) {
        return (error as Error).message;
      }
    };
    const [hosts, id] = [fileOperation("/etc/hosts", 0o644, "secret"), fileOperation("/etc/machine-id", 0o444, "")];
    expect(fails([hosts], "id1 error file 40")).toMatch(/"file" of \/etc\/hosts \(ELOOP\): a symbolic link/);
    expect(fails([hosts, id], "id1 error file 2")).toMatch(/of one of \/etc\/hosts, \/etc\/machine-id \(ENOENT\)/);
    expect(fails([{ name: "ipv4", value: "eth0,10.0.0.1,24" }], "id1 error ipv4 19")).toMatch(/of eth0 .*interface/);
    for (const [name, device] of [
      ["disk", "vda"],
      ["partition", "vda2"],
    ] as const) {
      const grow = { name, value: `${device},/,1` };
      const of = `"${name}" of ${device}`;
      expect(fails([grow], `id1 error ${name} 25`)).toContain(`${of} (ENOTTY): the root is no file system that grows`);
      expect(fails([grow], `id1 error ${name} 30`)).toContain(
        `${of} (EROFS): the root file system is mounted read-only`,
      );
      expect(fails([grow], `id1 error ${name} 16`)).toContain(`${of} (EBUSY): the file system is being changed`);
    }
    expect(fails([{ name: "entropy", value: "c2VjcmV0" }], "id1 error entropy 22")).toMatch(/"entropy" \(EINVAL\)$/);
  });

  it("survives any bytes: ignored, refused, or as many values as operations", () => {
    const unit = fc.oneof(
      fc.constantFrom("id1", " ", "ok", "error", "hostname=", "clock=", "read=", "\n", "\0", "=", "é"),
      fc.string({ maxLength: 3 }),
    );
    fc.assert(
      fc.property(fc.array(unit, { maxLength: 12 }), (parts) => {
        try {
          const answer = decode(parts.join(""));
          if (answer === undefined) return;
          expect(answer).toHaveLength(OPERATIONS.length);
          for (const value of answer) expect(value).toMatch(/^[\x21-\x7e]*$/);
        } catch (error) {
          expect(isVmSubstrateError(error, "GUEST_HELPER_FAILED"), String(error)).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
