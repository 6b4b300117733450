import swagger from "@fastify/swagger";
import type { RouteOptions } from "fastify";
import { jsonSchemaTransform, jsonSchemaTransformObject } from "fastify-type-provider-zod";
import { PROBLEM_TYPE, problemSchema } from "../api/index.ts";
import type { App } from "./context.ts";
import { PACKAGE_VERSION } from "./package-version.ts";

const VERBS: Readonly<Record<string, string>> = { GET: "get", POST: "post", PUT: "put", DELETE: "delete" };

/** Serves the description of every route that is registered after this. */
export async function describeRoutes(app: App): Promise<void> {
  app.addHook("onRoute", (route) => {
    if (route.schema !== undefined && route.schema.hide !== true) complete(route);
  });
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "vm-substrate",
        version: PACKAGE_VERSION,
        description: "Personal, running VMs in milliseconds. Errors are problems (RFC 9457).",
        license: { name: "Apache-2.0", identifier: "Apache-2.0" },
      },
      tags: [
        { name: "system", description: "The daemon and its machine" },
        { name: "substrates", description: "What VMs are made of" },
        { name: "docks", description: "Clones that wait" },
        { name: "vms", description: "VMs, from their activation to their release" },
        { name: "guests", description: "What is done within a VM" },
        { name: "operations", description: "Work that takes longer than a request" },
        { name: "events", description: "What happens" },
      ],
      components: { securitySchemes: { token: { type: "http", scheme: "bearer" } } },
      security: [{ token: [] }],
    },
    transform: jsonSchemaTransform,
    transformObject: jsonSchemaTransformObject,
  });
}

/** What every route has: a name, made of method and path, and problems. */
function complete(route: RouteOptions & { readonly path?: string }): void {
  const { schema, method, url } = route;
  if (schema === undefined || typeof method !== "string") return;
  const response: Record<string, unknown> = typeof schema.response === "object" ? { ...schema.response } : {};
  if (Object.keys(response).length === 0) response["101"] = { content: {} };
  response.default = {
    description: "A problem: what went wrong, by its code.",
    content: { [PROBLEM_TYPE]: { schema: problemSchema } },
  };
  schema.response = response;
  schema.operationId ??= operationId(method, url);
}

/** "GET /v1/vms/:id/files" becomes "getVmsIdFiles". */
function operationId(method: string, url: string): string {
  const words = url.split(/[^A-Za-z0-9]+/).filter((word) => word !== "" && word !== "v1");
  const name = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
  return `${VERBS[method] ?? method.toLowerCase()}${name === "" ? "Daemon" : name}`;
}
