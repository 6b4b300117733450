import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fastifyStatic from "@fastify/static";
import type { App } from "../context.ts";

const FOLDER = fileURLToPath(new URL(import.meta.resolve("#page/index.html")).href.replace(/index\.html$/, ""));
/** Nothing but what the daemon itself serves; text of guests can be no script. */
const POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/** The page. What it is built into may be missing in a checkout. */
export async function pageRoutes(app: App): Promise<void> {
  app.addHook("onSend", async (_request, reply) => {
    reply.header("content-security-policy", POLICY).header("referrer-policy", "no-referrer");
  });
  if (!existsSync(FOLDER)) {
    app.get("/", { schema: { hide: true } }, async (_request, reply) =>
      reply.code(404).type("text/plain").send("The page is not built; run: npm run build\n"),
    );
    return;
  }
  await app.register(fastifyStatic, {
    root: FOLDER,
    wildcard: false, // a route for each file: what is served nowhere stays so
    cacheControl: false,
    // Names in assets/ have a digest of their content. index.html names them, and is asked for again each time: a daemon of another
    // version has others.
    setHeaders: (reply, path) => {
      const isAsset = path.startsWith(`${FOLDER}assets/`);
      reply.header("cache-control", isAsset ? "public, max-age=31536000, immutable" : "no-cache");
    },
  });
}
