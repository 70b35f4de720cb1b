import assert from "node:assert/strict";
import { test } from "node:test";
import { problem, table } from "../src/view.js";

test("the table shows every row, and no markup from data", () => {
  const shown = table({ environment: "test", database: "d", rows: [{ name: "<b>", value: 7, unit: "ms" }] }, "Metrics");
  assert.match(shown, /&lt;b&gt;/);
  assert.match(shown, /7 ms/);
  assert.match(shown, /<caption>Metrics/);
});

test("a problem is named", () => assert.match(problem("away"), /No metrics: away/));
