import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { PROBLEM_TYPE } from "../../api/index.ts";
import { describeApi } from "../../daemon/index.ts";
import { apiPage } from "../../scripts/api-page.ts";

const PAGE = readFileSync(join(import.meta.dirname, "../../docs/API.md"), "utf8");
// biome-ignore lint/suspicious/noExplicitAny: a JSON document
type Json = any; // oxlint-disable-line typescript/no-explicit-any
const document: Json = JSON.parse(JSON.stringify(await describeApi()));
const operations = Object.entries<Record<string, Json>>(document.paths).flatMap(
  (
    [path, methods], // oxlint-disable-line typescript/no-explicit-any
  ) => Object.entries(methods).map(([method, operation]) => ({ path, method, ...operation })),
);

describe("docs/API.md", () => {
  it("is what scripts/api-docs.ts makes; run it after a change of the API", async () => {
    expect(PAGE).toBe(await apiPage());
  });
});

describe("the API's description", () => {
  it("is OpenAPI 3.1, of what is served", () => {
    expect(document.openapi).toMatch(/^3\.1\.\d$/);
    expect(document.info).toMatchObject({ title: "vm-substrate", version: expect.stringMatching(/^\d+\.\d+\.\d+/) });
    expect(operations.length).toBeGreaterThan(30);
    expect(document.paths["/metrics"]).toBeUndefined();
  });

  it("has a name, a summary, a known tag and a problem for each request", () => {
    const tags = document.tags.map(({ name }: { name: string }) => name);
    for (const { path, method, operationId, summary, tags: of, responses, requestBody } of operations) {
      const what = `${method} ${path}`;
      expect(["get", "put", "post", "delete"], what).toContain(method);
      expect(operationId, what).toMatch(/^[a-z][A-Za-z0-9]+$/);
      expect(summary, what).toMatch(/^[A-Z]/);
      expect(of, what).toHaveLength(1);
      expect(tags, what).toContain(of[0]);
      expect(Object.keys(responses).filter((status) => status !== "default").length, what).toBeGreaterThan(0);
      for (const status of Object.keys(responses)) expect(status, what).toMatch(/^([1-5]\d\d|default)$/);
      for (const response of Object.values<{ description: string }>(responses))
        expect(response.description, what).toBeDefined();
      const problem = responses.default.content[PROBLEM_TYPE].schema;
      expect(problem, what).toEqual({ $ref: "#/components/schemas/Problem" });
      if (method === "get" || method === "delete") expect(requestBody, what).toBeUndefined();
    }
    const names = operations.map(({ operationId }) => operationId);
    expect(new Set(names).size).toBe(names.length);
  });

  it("names each part of an address, once, and nothing else", () => {
    for (const { path, method, parameters = [] } of operations) {
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      const declared = parameters.filter((one: { in: string }) => one.in === "path");
      expect(declared.map(({ name }: { name: string }) => name).toSorted(), `${method} ${path}`).toEqual(
        inPath.toSorted(),
      );
      for (const one of declared) expect(one.required).toBe(true);
      for (const one of parameters) expect(one.schema, `${method} ${path} ${one.name}`).toBeDefined();
      const keys = parameters.map((one: { in: string; name: string }) => `${one.in} ${one.name}`);
      expect(new Set(keys).size).toBe(keys.length);
    }
  });

  it("refers only to what it has", () => {
    const refs = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, ref = ""]) => ref);
    expect(refs.length).toBeGreaterThan(20);
    for (const ref of refs) {
      const found = ref
        .replace(/^#\//, "")
        .split("/")
        .reduce((at, name) => at?.[name.replaceAll("~1", "/")], document);
      expect(found, ref).toBeDefined();
    }
  });
});
