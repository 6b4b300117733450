import type { FastifyInstance, FastifyRequest } from "fastify";
import { API_PREFIX } from "../api/index.ts";
import { VmSubstrateError } from "../lib/index.ts";
import type { Scope, Tokens } from "./tokens.ts";

/** How requests come in: through the unix socket, which only its owner can open, or over TCP. */
export type Entrance =
  | { readonly kind: "socket" }
  | { readonly kind: "tcp"; readonly tokens: Tokens; readonly hosts: ReadonlySet<string> };

declare module "fastify" {
  interface FastifyContextConfig {
    /** Of a route that changes something though its method does not say so. */
    scope?: "write";
  }
  interface FastifyRequest {
    /** What the sender may do. */
    scope: Scope | undefined;
  }
}

/**
 * Refuses what a web page on another origin can make a browser send (DNS rebinding included), and who has no right to ask.
 * The page itself and signs of life are for everybody who reaches the port; they tell nothing.
 */
export function guard(app: FastifyInstance, entrance: Entrance): void {
  app.decorateRequest("scope", undefined);
  app.addHook("onRequest", async (request) => {
    if (entrance.kind === "socket") {
      if (request.headers.host === undefined) throw hostMissing();
      // A browser cannot open it, and nothing else sends this.
      if (request.headers.origin !== undefined) throw forbidden("requests of web pages come over TCP");
      request.scope = "write";
      return;
    }
    const { host, origin } = request.headers;
    if (host === undefined) throw hostMissing();
    if (!entrance.hosts.has(host.toLowerCase())) {
      throw forbidden(`the host "${host.slice(0, 100)}" is not this daemon's; add it to listen.hosts if it is`);
    }
    // By https: through a proxy that speaks TLS, and hands on the name by which it was asked.
    if (
      origin !== undefined &&
      !["http:", "https:"].some((scheme) => origin.toLowerCase() === `${scheme}//${host.toLowerCase()}`)
    ) {
      throw forbidden("requests of other origins are refused");
    }
    request.scope = scopeOf(request, entrance.tokens);
    if (!isProtected(request)) return;
    if (request.scope === undefined) {
      throw new VmSubstrateError(
        "UNAUTHENTICATED",
        "expected Authorization: Bearer, with a token of the daemon's token file",
      );
    }
    if (request.scope !== "write" && changes(request))
      throw forbidden("a read token changes nothing; use a write token");
  });
}

/** Paths of this machine are only for who could open them anyway. @throws VmSubstrateError FORBIDDEN */
export function requireSocket({ kind }: Entrance, what: string): void {
  if (kind !== "socket") throw forbidden(`${what}: paths of the daemon's machine are taken through its socket only`);
}

function isProtected({ routeOptions, url }: FastifyRequest): boolean {
  // By what is served, and by what was asked for: what is served nowhere falls to the page, which is for everybody.
  return [routeOptions.url ?? url, url.split("?")[0] ?? ""].some(
    (path) => path === API_PREFIX || path.startsWith(`${API_PREFIX}/`) || path === "/metrics",
  );
}

/** A program in a VM is started by a GET, as every WebSocket. */
function changes({ method, routeOptions }: FastifyRequest): boolean {
  const isRead = method === "GET" || method === "HEAD" || method === "OPTIONS";
  return !isRead || routeOptions.config.scope === "write";
}

function scopeOf({ headers: { authorization = "" } }: FastifyRequest, tokens: Tokens): Scope | undefined {
  const [, token] = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(authorization) ?? [];
  return token === undefined ? undefined : tokens.scopeOf(token);
}

/** Source: RFC 9112, section 3.2. */
function hostMissing(): VmSubstrateError {
  return new VmSubstrateError("REQUEST_REFUSED", "expected a Host header", { details: { status: 400 } });
}

function forbidden(message: string): VmSubstrateError {
  return new VmSubstrateError("FORBIDDEN", message);
}
