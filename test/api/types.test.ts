import { describe, expect, expectTypeOf, it } from "vitest";
import type { z } from "zod";
import {
  type ActivateBody,
  type activateSpecSchema,
  type DockBody,
  dockSchema,
  EVENT_TYPES,
  type ForkBody,
  memoryUseSchema,
  substrateSchema,
  type VM_STATES,
  vmSchema,
} from "../../api/index.ts";
import type { ConfigInput } from "../../daemon/index.ts";
import type {
  ActivateOptions,
  ActivateSpec,
  DockOptions,
  DockStatus,
  ExecOptions,
  ForkOptions,
  MemoryUse,
  PoolEvents,
  PoolOptions,
  SubstrateInfo,
  Vm,
  VmState,
} from "../../lib/index.ts";

type SpecBody = z.input<typeof activateSpecSchema>;
type Fields<T> = keyof T & string;
type NetworkOf<T extends { readonly network?: unknown }> = Fields<NonNullable<T["network"]>>;

// A field that the library gets is in the API, or is left out here by name, with the reason. This fails to compile otherwise.
describe("the API has each field of the library's", () => {
  it("ActivateSpec; the key is a header", () => {
    expectTypeOf<Fields<SpecBody>>().toEqualTypeOf<Exclude<Fields<ActivateSpec>, "idempotencyKey">>();
    expectTypeOf<NetworkOf<SpecBody>>().toEqualTypeOf<NetworkOf<ActivateSpec>>();
    expectTypeOf<Fields<NonNullable<SpecBody["resources"]>>>().toEqualTypeOf<
      Fields<NonNullable<ActivateSpec["resources"]>>
    >();
    expectTypeOf<Fields<NonNullable<SpecBody["run"]>>>().toEqualTypeOf<Fields<NonNullable<ActivateSpec["run"]>>>();
    type FileBody = NonNullable<SpecBody["files"]>[number];
    type File = NonNullable<ActivateSpec["files"]>[number];
    expectTypeOf<Fields<FileBody>>().toEqualTypeOf<Fields<File> | "contentBase64">();
  });

  it("options of a call; hanging up or DELETE of its operation is its signal", () => {
    expectTypeOf<Exclude<Fields<ActivateBody>, "count" | "mode" | "coldBoot" | "spec">>().toEqualTypeOf<
      Exclude<Fields<ActivateOptions>, "signal">
    >();
  });

  it("ForkOptions; as above", () => {
    type Given = Fields<NonNullable<ForkBody["options"]>> | Exclude<Fields<ForkBody>, "count" | "options">;
    expectTypeOf<Given>().toEqualTypeOf<Exclude<Fields<ForkOptions>, "signal">>();
  });

  it("DockOptions", () => {
    expectTypeOf<Fields<DockBody>>().toEqualTypeOf<Fields<DockOptions>>();
    expectTypeOf<NetworkOf<DockBody>>().toEqualTypeOf<NetworkOf<DockOptions>>();
  });

  it("ExecOptions; input is base64", () => {
    expectTypeOf<Fields<ExecOptions>>().toEqualTypeOf<"stdin" | "env" | "timeoutMs" | "signal">();
  });

  it("PoolOptions in a configuration; a daemon restores docks and has a log of its own", () => {
    type Own = "listen" | "log" | "docks";
    expectTypeOf<Exclude<Fields<ConfigInput>, Own>>().toEqualTypeOf<Exclude<Fields<PoolOptions>, "docks" | "logger">>();
  });
});

describe("the API shows", () => {
  it("all that a VM is; what it can do are requests", () => {
    type Verbs = { [Name in Fields<Vm>]: Vm[Name] extends (...given: never) => unknown ? Name : never }[Fields<Vm>];
    expectTypeOf<Fields<z.infer<typeof vmSchema>>>().toEqualTypeOf<Exclude<Fields<Vm>, Verbs | "events">>();
    expectTypeOf<Exclude<VmState, "detached">>().toEqualTypeOf<(typeof VM_STATES)[number]>();
    expect(Object.keys(vmSchema.shape)).toHaveLength(16);
  });

  it("all of a dock, of memory, of a substrate", () => {
    expectTypeOf<Fields<z.infer<typeof dockSchema>>>().toEqualTypeOf<Fields<DockStatus>>();
    expectTypeOf<Fields<z.infer<typeof memoryUseSchema>>>().toEqualTypeOf<Fields<MemoryUse>>();
    expectTypeOf<Fields<z.infer<typeof substrateSchema>>>().toEqualTypeOf<Fields<SubstrateInfo>>();
    for (const schema of [dockSchema, memoryUseSchema, substrateSchema]) {
      expect(Object.keys(schema.shape).length).toBeGreaterThan(3);
    }
  });

  it("all events of a pool, and those of operations", () => {
    expectTypeOf<Exclude<(typeof EVENT_TYPES)[number], "operation">>().toEqualTypeOf<Fields<PoolEvents>>();
    expect(new Set(EVENT_TYPES).size).toBe(EVENT_TYPES.length);
  });
});
