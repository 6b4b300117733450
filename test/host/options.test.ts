import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { commaOptions } from "../../lib/host/options.ts";

/** As QEMU's get_opt_value reads: a comma ends a value unless it is doubled. */
function parse(text: string): string[] {
  const parts: string[] = [];
  let part = "";
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "," && text[i + 1] !== ",") {
      parts.push(part);
      part = "";
    } else {
      part += text[i];
      if (text[i] === ",") i++;
    }
  }
  return [...parts, part];
}

describe("commaOptions", () => {
  it("writes QEMU's syntax", () => {
    expect(commaOptions({ id: "c0", path: "/run/a", server: true, wait: false, size: 64 }, "socket")).toBe(
      "socket,id=c0,path=/run/a,server=on,wait=off,size=64",
    );
    expect(commaOptions({})).toBe("");
  });

  it("doubles every comma, also of the first value", () => {
    expect(commaOptions({ path: "/a,server=off" }, "x,y")).toBe("x,,y,path=/a,,server=off");
  });

  it("lets no value add or change an option", () => {
    const hostile = fc.string({ unit: fc.constantFrom(",", "=", "a", "id", " ", "\n", '"') });
    fc.assert(
      fc.property(hostile, hostile, hostile, (first, path, id) => {
        expect(parse(commaOptions({ path, id }, first))).toEqual([first, `path=${path}`, `id=${id}`]);
      }),
    );
  });
});
