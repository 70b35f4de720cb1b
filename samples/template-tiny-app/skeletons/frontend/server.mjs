// Serves the built page, and hands /api on to the backend. No dependencies, so the image holds nothing but this and dist/.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { Agent, createServer, request } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const port = Number(process.env.PORT ?? 8080);
const backend = new URL(process.env.BACKEND_URL ?? "http://localhost:${{ values.apiPort }}");
const root = join(fileURLToPath(new URL(".", import.meta.url)), "dist");
const agent = new Agent({ keepAlive: true, maxSockets: 64 });
const types = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".json": "application/json",
  ".ico": "image/x-icon",
  ".woff2": "font/woff2",
};
// Attempts at a backend that is just being replaced, and the pause between them.
const ATTEMPTS = 5;
const PAUSE_MS = 200;
// Longest request body that is handed on.
const BODY_MAX_BYTES = 1 << 20;

let stopping = false;

const server = createServer(async (incoming, outgoing) => {
  if (stopping) {
    outgoing.setHeader("connection", "close");
  }
  try {
    const path = new URL(incoming.url ?? "/", "http://host").pathname;
    if (path === "/healthz") {
      outgoing.end("ok\n");
    } else if (path === "/api" || path.startsWith("/api/")) {
      await handOn(incoming, outgoing);
    } else {
      await serveFile(path, incoming, outgoing);
    }
  } catch (error) {
    if (!outgoing.headersSent) {
      outgoing.writeHead(error.status ?? 502, { "content-type": "application/json" });
    }
    outgoing.end(JSON.stringify({ error: error.message }));
  }
});

async function serveFile(path, incoming, outgoing) {
  if (incoming.method !== "GET" && incoming.method !== "HEAD") {
    throw Object.assign(new Error("only GET and HEAD"), { status: 405 });
  }
  const wanted = join(root, normalize(decodeURIComponent(path)));
  let file = wanted.startsWith(root) && (await isFile(wanted)) ? wanted : undefined;
  if (!file && extname(path) !== "") {
    throw Object.assign(new Error("not found"), { status: 404 });
  }
  // Every other path is a route of the page.
  file ??= join(root, "index.html");
  outgoing.setHeader("content-type", types[extname(file)] ?? "application/octet-stream");
  outgoing.setHeader("cache-control", path.startsWith("/assets/") ? "public, max-age=31536000, immutable" : "no-cache");
  if (incoming.method === "HEAD") {
    outgoing.end();
    return;
  }
  createReadStream(file).on("error", () => outgoing.destroy()).pipe(outgoing);
}

async function isFile(path) {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

async function handOn(incoming, outgoing) {
  const body = await read(incoming);
  for (let attempt = 1; ; attempt += 1) {
    try {
      const answer = await ask(incoming, body);
      const headers = { ...answer.headers };
      delete headers.connection;
      delete headers["keep-alive"];
      outgoing.writeHead(answer.statusCode, headers);
      answer.on("error", () => outgoing.destroy()).pipe(outgoing);
      return;
    } catch (error) {
      // Nothing was answered, so a read can safely be asked again.
      if (incoming.method !== "GET" || attempt === ATTEMPTS) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }
}

function ask(incoming, body) {
  return new Promise((resolve, reject) => {
    const headers = { ...incoming.headers, host: backend.host, "content-length": body.length };
    delete headers.connection;
    delete headers["transfer-encoding"];
    const options = { method: incoming.method, path: incoming.url, headers, agent, timeout: 10_000 };
    const outgoing = request(backend, options, resolve);
    outgoing.on("timeout", () => outgoing.destroy(new Error("the backend did not answer in time")));
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

async function read(incoming) {
  const chunks = [];
  let length = 0;
  for await (const chunk of incoming) {
    length += chunk.length;
    if (length > BODY_MAX_BYTES) {
      throw Object.assign(new Error("the request is too long"), { status: 413 });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function stop() {
  // Requests that are under way are answered; connections that wait for the next one are closed.
  stopping = true;
  server.close(() => process.exit(0));
  server.closeIdleConnections();
  setTimeout(() => process.exit(0), 15_000).unref();
}

process.on("SIGTERM", stop);
process.on("SIGINT", stop);
server.keepAliveTimeout = 65_000;
server.listen(port, () => console.log(`listening on ${port}, backend ${backend.origin}`));
