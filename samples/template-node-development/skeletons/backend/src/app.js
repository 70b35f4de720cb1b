// The HTTP side: routes over a database, which tests replace by one in memory.
import { timingSafeEqual } from "node:crypto";
import express from "express";

// Longest name of a metric.
const NAME_MAX = 100;

export function createApp({ database, environment, token, monitoring = false }) {
  const app = express();
  let requests = 0;
  app.disable("x-powered-by");
  app.use((_request, response, next) => {
    requests += 1;
    if (app.locals.stopping) {
      response.set("connection", "close");
    }
    next();
  });
  app.use(express.json({ limit: "64kb" }));

  // Alive; says nothing about the database, or a database that is away would restart every pod.
  app.get("/health", (_request, response) => response.json({ status: "ok" }));

  app.get("/ready", async (_request, response) => {
    const ready = await database.isReady();
    response.status(ready ? 200 : 503).json({ status: ready ? "ready" : "waiting for the database" });
  });

  app.get("/api/metrics", async (_request, response, next) => {
    try {
      response.json({ environment, database: await database.name(), rows: await database.metrics() });
    } catch (error) {
      next(error);
    }
  });

  app.put("/api/metrics/:name", authenticate(token), async (request, response, next) => {
    const { value, unit = "" } = request.body ?? {};
    if (request.params.name.length > NAME_MAX || typeof value !== "number" || typeof unit !== "string") {
      response.status(400).json({ error: "value must be a number, unit a text" });
      return;
    }
    try {
      await database.save({ name: request.params.name, value, unit });
      response.status(204).end();
    } catch (error) {
      next(error);
    }
  });

  if (monitoring) {
    app.get("/metrics", (_request, response) => {
      response.type("text/plain; version=0.0.4");
      response.send(
        "# HELP http_requests_total Requests answered by this process.\n" +
          "# TYPE http_requests_total counter\n" +
          `http_requests_total ${requests}\n`,
      );
    });
  }

  app.use((_request, response) => response.status(404).json({ error: "not found" }));
  // Express knows an error handler by its four parameters.
  app.use((error, _request, response, _next) => {
    const status = error.status ?? 503;
    console.error(error.message);
    response.status(status).json({ error: status === 503 ? "the database does not answer" : error.message });
  });
  return app;
}

// A bearer token, compared in constant time. Without a token in the environment nobody gets in.
function authenticate(token) {
  return (request, response, next) => {
    const [scheme, given = ""] = (request.get("authorization") ?? "").split(" ");
    const wanted = Buffer.from(token ?? "");
    const found = Buffer.from(given);
    if (scheme.toLowerCase() === "bearer" && wanted.length > 0 && wanted.length === found.length && timingSafeEqual(wanted, found)) {
      next();
      return;
    }
    response.set("www-authenticate", "Bearer").status(401).json({ error: "a bearer token is needed" });
  };
}
