import websocket from "@fastify/websocket";
import { idParameter } from "../../api/index.ts";
import type { App, Context } from "../context.ts";
import { bridgeSession } from "../session-bridge.ts";

/** A window of input, its channel, and what JSON needs. */
const MAX_MESSAGE_BYTES = 128 * 1024;

export async function sessionRoutes(app: App, { vms, closing }: Context): Promise<void> {
  await app.register(websocket, { options: { maxPayload: MAX_MESSAGE_BYTES, perMessageDeflate: false } });

  app.get(
    "/vms/:id/session",
    {
      websocket: true,
      config: { scope: "write" },
      schema: {
        tags: ["guests"],
        summary: "Run a program with streams, or in a terminal, over a WebSocket",
        description: "The first message is what to run, in JSON; docs/API.md has the messages.",
        params: idParameter,
      },
      // Before the upgrade: who asks for a VM that is not there gets a problem.
      preValidation: async ({ params }) => void vms.find(params.id),
    },
    (socket, request) => {
      void bridgeSession(socket, vms.find(request.params.id), request.id, closing);
    },
  );
}
