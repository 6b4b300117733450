import { describeApi } from "../daemon/index.ts";

// biome-ignore lint/suspicious/noExplicitAny: a JSON document
type Json = any; // oxlint-disable-line typescript/no-explicit-any

const CONVENTIONS = `# The daemon's HTTP API

Made by \`node scripts/api-docs.ts\` from what the daemon serves as \`GET /openapi.json\`; a test compares the two. What each field
of a request means is in [the README](../README.md#options), which names them as the library does.

## Conventions

**Where.** The daemon listens on a unix socket, \`runtimeDir/vm-substrate-UID-KEY/daemon.sock\`, which only its user can open, and, if
its configuration says so, on a TCP address. In the examples \`$S\` is the socket.

**Who.** Through the socket everything is allowed. Over TCP each request below \`/v1\`, and \`/metrics\`, has a header
\`Authorization: Bearer TOKEN\`. A \`read\` token may send GET and HEAD, a \`write\` token everything but what names a path of the
daemon's machine. The \`Host\` must be the daemon's, and an \`Origin\` the same as it.

**Problems.** Every error is \`application/problem+json\` (RFC 9457): \`type\`, \`title\`, \`status\`, \`detail\`, and \`code\`, one of
[ERRORS.md](ERRORS.md), with \`details\` by code and the request's id as \`instance\`. Where trying again may help, \`Retry-After\` says
when.

**Ids.** A request may bring an \`x-request-id\` of 8 to 64 letters, digits, \`_\` and \`-\`; otherwise it is given one. The answer has
it, the log has it, and the operation that the request starts is called so.

**Operations.** What may take long is an operation. A request waits for it for \`wait\` seconds. If it is over by then, the answer is
its result; if not, 202 with the operation, and \`Location\` where to ask for it. \`DELETE\` of an operation cancels it and undoes what
it has begun. So does hanging up while waiting, unless the request had an \`Idempotency-Key\`.

**Idempotency-Key.** 1 to 200 printable characters. The same key with the same request is the same work, done once. With another
request it is \`IDEMPOTENCY_KEY_USED\`. Keys of \`POST /v1/vms\` are kept for 24 hours, also when the daemon is killed; others as long as
their operation: an hour after its end, in this daemon's memory.

**Pages.** Lists that may be long have \`items\`, and \`next\` when there are more: it is the \`cursor\` of the next request. What comes
and goes meanwhile makes no item appear twice, and none be left out.

**Label selectors** are those of Kubernetes: \`match=17\`, \`tier!=free\`, \`region\`, \`!old\`, \`zone in (a, b)\`, \`zone notin (a)\`, with
commas between those that must all hold.

**Events.** \`GET /v1/events\` is a stream of Server-Sent Events. Each has an \`id\`; a client that was cut off sends the last one as
\`Last-Event-ID\` and gets what it missed, or a \`snapshot\` when that is not kept any more. Types: EVENT_TYPES; and \`snapshot\` and \`tick\`
for who asks for them. A reader that falls 4 MiB behind is hung up on.

**Sessions.** \`GET /v1/vms/{id}/session\` becomes a WebSocket. The first message is text, what to run, as JSON. After that a
binary message is one byte, 0 for input, 1 for output, 2 for errors, and then bytes; a message in text is an order or a report, as
JSON. The first: \`{"argv": ["sh"], "env", "cwd", "tty": {"columns", "rows", "term"}, "timeoutMs"}\`. Orders: \`{"end": true}\` (of input),
\`{"close": true}\`, \`{"resize": {"columns", "rows"}}\`, \`{"signal": 15}\`, \`{"credit": {"stdout": BYTES}}\`. Reports: \`{"started": true}\`,
\`{"exited": {"exitCode", "signal"}}\`, \`{"error": PROBLEM}\`, \`{"credit": {"stdin": BYTES}}\`. At most 64 KiB of input and 256 KiB of each output
are under way before there is credit for more.
`;

/** docs/API.md. */
export async function apiPage(): Promise<string> {
  const document: Json = await describeApi();
  const requests = Object.entries<Json>(document.paths).flatMap(([path, methods]) =>
    Object.entries<Json>(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), ...operation })),
  );
  const types = document.components.schemas.Event.anyOf
    .map((one: Json) => `\`${one.properties.type.const}\``)
    .join(", ");
  const sections = document.tags.flatMap(({ name, description }: Json) => [
    `## ${description}\n`,
    ...requests.filter(({ tags }) => tags?.includes(name)).map((one) => requestText(one, document)),
  ]);
  return `${[CONVENTIONS.replace("EVENT_TYPES", types), ...sections]
    .join("\n")
    .replaceAll(/\n{3,}/g, "\n\n")
    .trim()}\n`;
}

function requestText(
  { path, method, summary, description, parameters = [], requestBody, responses }: Json,
  document: Json,
) {
  const json = requestBody?.content?.["application/json"]?.schema;
  const body = json === undefined ? undefined : resolved(json, document);
  const rows = parameters.map((one: Json) => row(one.name, one.in, one.required === true, one.schema, one.description));
  const required: readonly string[] = body?.required ?? [];
  for (const [name, schema] of Object.entries<Json>(body?.properties ?? {})) {
    rows.push(row(name, "body", required.includes(name), schema));
    for (const [inner, of] of Object.entries<Json>(resolved(schema, document).properties ?? {})) {
      rows.push(row(`${name}.${inner}`, "body", false, of));
    }
  }
  const table = ["| name | in | kind | meaning |", "|---|---|---|---|", ...rows].join("\n");
  const answers = Object.entries<Json>(responses).map(([status, response]) => {
    const [[type, content] = []] = Object.entries<Json>(response.content ?? {});
    if (status === "default") return "otherwise a problem";
    return content === undefined
      ? status
      : `${status} ${type === "application/json" ? kindOf(content.schema) : `\`${type}\``}`;
  });
  return `### ${method} ${path}

${summary}.${description === undefined ? "" : ` ${description}`}

${rows.length === 0 ? "" : `${table}\n`}
Answers: ${answers.join(", ")}.

\`\`\`sh
${curl(method, path, body)}
\`\`\`
`;
}

function row(name: string, place: string, isRequired: boolean, schema: Json, description?: string): string {
  const text = description ?? schema.description ?? "";
  const otherwise =
    schema.default === undefined || typeof schema.default === "object"
      ? ""
      : ` Default ${JSON.stringify(schema.default)}.`;
  const cells = [
    `\`${name}\``,
    place,
    `${kindOf(schema)}${isRequired ? ", required" : ""}`,
    `${text}${otherwise}`.trim(),
  ];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function kindOf(schema: Json): string {
  if (schema === undefined || Object.keys(schema).length === 0) return "anything";
  if (schema.$ref !== undefined) return schema.$ref.split("/").at(-1);
  if (schema.enum !== undefined) return schema.enum.map((one: string) => `\`${one}\``).join(" or ");
  const options = schema.anyOf ?? schema.oneOf;
  if (options !== undefined) return options.map(kindOf).join(" or ");
  if (schema.type === "array") return `list of ${kindOf(schema.items)}`;
  return schema.type ?? "anything";
}

function resolved(schema: Json, document: Json): Json {
  if (schema?.$ref === undefined) return schema ?? {};
  return document.components.schemas[schema.$ref.split("/").at(-1)] ?? {};
}

const EXAMPLES: Readonly<Record<string, unknown>> = {
  spec: { substrate: "mini" },
  file: "/tmp/mini.tar.zst",
  recipe: "mini",
  keep: 2,
  ms: 60_000,
  memoryMiB: 512,
  argv: ["hostname"],
  name: "level-3",
  min: 8,
};

function curl(method: string, path: string, body: Json): string {
  const address = path
    .replace("{substrate}", "mini")
    .replace("/operations/{id}", "/operations/ID")
    .replace("{id}", "mini-0");
  const wanted = Object.keys(body?.properties ?? {}).filter((name) => name in EXAMPLES);
  const given = Object.fromEntries(wanted.slice(0, 2).map((name) => [name, EXAMPLES[name]]));
  const query = path.endsWith("/files") ? "?path=/etc/hostname" : "";
  const parts = [
    "curl -s --unix-socket $S",
    method === "GET" ? "" : `-X ${method}`,
    `'http://localhost${address}${query}'`,
  ];
  if (path.endsWith("/events")) parts[0] += " -N";
  if (body !== undefined) parts.push(`-H 'content-type: application/json' -d '${JSON.stringify(given)}'`);
  else if (path.endsWith("/files") && method === "PUT") {
    parts.push("-H 'content-type: application/octet-stream' --data-binary @hostname");
  }
  return parts.filter((part) => part !== "").join(" ");
}
