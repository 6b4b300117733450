import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { arpAnnouncement, arpProbe, arpSender } from "../../lib/netcfg/arp.ts";

const MAC = "02:00:00:00:00:07";

describe("an ARP packet", () => {
  it("that probes names its sender's MAC and no sender's address (RFC 5227, 2.1.1)", () => {
    expect(arpProbe(MAC, "10.77.0.9").toString("hex")).toBe(
      ["ffffffffffff", "020000000007", "0806", "0001", "0800", "06", "04", "0001"].join("") +
        ["020000000007", "00000000", "000000000000", "0a4d0009"].join(""),
    );
    expect(arpSender(arpProbe(MAC, "10.77.0.9"))).toBeUndefined();
  });

  it("that announces names one address twice (RFC 5227, 2.3)", () => {
    const frame = arpAnnouncement({ mac: MAC, address: "10.77.0.9" });
    expect(frame.subarray(28, 32)).toEqual(frame.subarray(38, 42));
    expect(arpSender(frame)).toEqual({ mac: MAC, address: "10.77.0.9" });
  });

  it("says who its sender is whatever follows it on the wire", () => {
    const padded = Buffer.concat([arpAnnouncement({ mac: MAC, address: "255.255.255.254" }), Buffer.alloc(18)]);
    expect(arpSender(padded)).toEqual({ mac: MAC, address: "255.255.255.254" });
  });

  it("is not what any other bytes are", () => {
    const frame = arpAnnouncement({ mac: MAC, address: "10.77.0.9" });
    for (let length = 0; length < frame.length; length++) expect(arpSender(frame.subarray(0, length))).toBeUndefined();
    for (const at of [12, 13, 14, 15, 16, 17, 18, 19]) {
      const other = Buffer.from(frame);
      other.writeUInt8(other.readUInt8(at) ^ 1, at);
      expect(arpSender(other)).toBeUndefined();
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => void arpSender(bytes)));
  });
});
