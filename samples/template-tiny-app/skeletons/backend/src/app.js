// The HTTP side: routes over a database, which tests replace by one in memory.
import { timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const BODY_MAX_BYTES = 64 << 10;

export function createApp({ database, environment, token = "", monitoring = false }) {
  let requests = 0;

  async function answer(request) {
    const path = new URL(request.url ?? "/", "http://host").pathname;
    const route = `${request.method} ${path}`;
    if (route === "GET /health") {
      return { body: { status: "ok" } };
    }
    if (route === "GET /ready") {
      const ready = await database.isReady();
      return { status: ready ? 200 : 503, body: { status: ready ? "ready" : "waiting for the database" } };
    }
    if (route === "GET /api/metrics") {
      return { body: { environment, database: await database.name(), rows: await database.metrics() } };
    }
    if (request.method === "PUT" && path.startsWith("/api/metrics/")) {
      return save(request, decodeURIComponent(path.slice("/api/metrics/".length)));
    }
    if (route === "GET /metrics" && monitoring) {
      return { text: `# TYPE http_requests_total counter\nhttp_requests_total ${requests}\n` };
    }
    return { status: 404, body: { error: "not found" } };
  }

  async function save(request, name) {
    if (!isAllowed(request.headers.authorization ?? "", token)) {
      return { status: 401, headers: { "www-authenticate": "Bearer" }, body: { error: "a bearer token is needed" } };
    }
    const { value, unit = "" } = await readJson(request);
    if (!Number.isFinite(value) || typeof unit !== "string") {
      return { status: 400, body: { error: "value must be a number, unit a text" } };
    }
    await database.save({ name, value, unit });
    return { status: 204 };
  }

  return createServer(async (request, response) => {
    requests += 1;
    let result;
    try {
      result = await answer(request);
    } catch (error) {
      console.error(error.message);
      result = { status: error.status ?? 503, body: { error: error.status ? error.message : "the database does not answer" } };
    }
    const { status = 200, headers = {}, body, text } = result;
    response.writeHead(status, { "content-type": text ? "text/plain; version=0.0.4" : "application/json", ...headers });
    response.end(text ?? (body ? JSON.stringify(body) : undefined));
  });
}

function isAllowed(header, token) {
  const [scheme, given = ""] = header.split(" ");
  const [wanted, found] = [Buffer.from(token), Buffer.from(given)];
  return scheme.toLowerCase() === "bearer" && wanted.length > 0 && wanted.length === found.length && timingSafeEqual(wanted, found);
}

async function readJson(request) {
  let text = "";
  for await (const chunk of request) {
    text += chunk;
    if (text.length > BODY_MAX_BYTES) {
      throw Object.assign(new Error("the request is too long"), { status: 413 });
    }
  }
  try {
    return JSON.parse(text) ?? {};
  } catch {
    throw Object.assign(new Error("the request is not JSON"), { status: 400 });
  }
}
