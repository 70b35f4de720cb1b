import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createApp } from "../src/app.js";
import { literal, scramAnswer } from "../src/postgres.js";

const rows = [{ name: "Requests", value: 1280, unit: "per minute" }];
const database = {
  isReady: async () => true,
  name: async () => "metrics",
  metrics: async () => rows,
  save: async (row) => void rows.push(row),
};

let server;
let base;

before(async () => {
  server = createApp({ database, environment: "test", token: "let-me-in", monitoring: true }).listen(0);
  await new Promise((resolve) => server.once("listening", resolve));
  base = `http://127.0.0.1:${server.address().port}`;
});

after(() => server.close());

test("metrics come from the database", async () => {
  const answer = await (await fetch(`${base}/api/metrics`)).json();
  assert.deepEqual(answer, { environment: "test", database: "metrics", rows });
});

test("writing needs the token", async () => {
  const put = async (headers, body) => (await fetch(`${base}/api/metrics/Errors`, { method: "PUT", headers, body })).status;
  const token = { authorization: "Bearer let-me-in" };
  assert.equal(await put({}, '{"value": 1}'), 401);
  assert.equal(await put(token, "{"), 400);
  assert.equal(await put(token, '{"value": "much"}'), 400);
  assert.equal(await put(token, '{"value": 0.4}'), 204);
  assert.deepEqual(rows.at(-1), { name: "Errors", value: 0.4, unit: "" });
});

test("monitoring counts requests", async () => {
  assert.match(await (await fetch(`${base}/metrics`)).text(), /^http_requests_total \d+$/m);
});

test("texts are quoted for SQL", () => {
  assert.equal(literal("it's"), "'it''s'");
  assert.throws(() => literal("\0"));
});

// The example of RFC 7677, section 3.
test("SCRAM-SHA-256 proves the password", () => {
  const first = "n=user,r=rOprNGfwEbeRWgbNEkqO";
  const server = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
  const answer = scramAnswer(first, server, "pencil");
  assert.ok(answer.message.endsWith("p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
  assert.equal(answer.signature.toString("base64"), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
});
