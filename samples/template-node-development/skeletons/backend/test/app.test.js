import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createApp } from "../src/app.js";

const rows = [{ name: "Requests", value: 1280, unit: "per minute" }];
const database = {
  ready: true,
  isReady: async () => database.ready,
  name: async () => "metrics",
  metrics: async () => rows,
  save: async (row) => void rows.push(row),
};

let server;
let base;

before(async () => {
  const app = createApp({ database, environment: "test", token: "let-me-in", monitoring: true });
  server = app.listen(0);
  await new Promise((resolve) => server.once("listening", resolve));
  base = `http://127.0.0.1:${server.address().port}`;
});

after(() => server.close());

test("alive and ready are two questions", async () => {
  assert.equal((await fetch(`${base}/health`)).status, 200);
  assert.equal((await fetch(`${base}/ready`)).status, 200);
  database.ready = false;
  assert.equal((await fetch(`${base}/health`)).status, 200);
  assert.equal((await fetch(`${base}/ready`)).status, 503);
  database.ready = true;
});

test("metrics come from the database", async () => {
  const answer = await (await fetch(`${base}/api/metrics`)).json();
  assert.deepEqual(answer, { environment: "test", database: "metrics", rows });
});

test("writing needs the token", async () => {
  const put = (headers, body) =>
    fetch(`${base}/api/metrics/Errors`, {
      method: "PUT",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
  const token = { authorization: "Bearer let-me-in" };
  assert.equal((await put({}, { value: 1 })).status, 401);
  assert.equal((await put({ authorization: "Bearer let-me-on" }, { value: 1 })).status, 401);
  assert.equal((await put(token, { value: "much" })).status, 400);
  assert.equal((await put(token, { value: 0.4, unit: "%" })).status, 204);
  assert.deepEqual(rows.at(-1), { name: "Errors", value: 0.4, unit: "%" });
});

test("without a configured token nobody writes", async () => {
  const closed = createApp({ database, environment: "test" }).listen(0);
  const url = `http://127.0.0.1:${closed.address().port}/api/metrics/x`;
  const answer = await fetch(url, { method: "PUT", headers: { authorization: "Bearer " } });
  assert.equal(answer.status, 401);
  closed.close();
});

test("monitoring counts requests", async () => {
  assert.match(await (await fetch(`${base}/metrics`)).text(), /^http_requests_total \d+$/m);
});
