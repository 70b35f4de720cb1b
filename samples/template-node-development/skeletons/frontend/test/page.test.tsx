import { renderToStaticMarkup } from "react-dom/server";
import { StaticRouter } from "react-router-dom/server";
import { describe, expect, it } from "vitest";
import { App } from "../src/App";
import labels from "../src/labels.json";
import { load, metrics } from "../src/metrics";
import { MetricsTable } from "../src/pages/Overview";
import { createStore } from "../src/store";

const at = (path: string) =>
  renderToStaticMarkup(
    <StaticRouter location={path}>
      <App />
    </StaticRouter>,
  );

describe("routes", () => {
  it.each([
    ["/", "Loading"],
    ["/about", "served by"],
    ["/nowhere", "no such page"],
  ])("%s shows %s", (path, text) => {
    expect(at(path)).toContain(text);
    expect(at(path)).toContain(labels.title);
  });
});

describe("metrics", () => {
  it("come from the backend", async () => {
    const report = { environment: "test", database: "d", rows: [{ name: "requests", value: 7, unit: "per minute" }] };
    await load(async () => new Response(JSON.stringify(report)));
    expect(metrics.get()).toEqual({ phase: "ready", report });
    expect(renderToStaticMarkup(<MetricsTable report={report} />)).toContain("7 per minute");
  });

  it("say why they are missing", async () => {
    await load(async () => new Response("", { status: 503 }));
    expect(metrics.get()).toEqual({ phase: "failed", reason: "the backend answered 503" });
  });
});

describe("store", () => {
  it("tells who listens, and no longer who stopped", () => {
    const store = createStore(1);
    const seen: number[] = [];
    const stop = store.subscribe(() => seen.push(store.get()));
    store.set(2);
    stop();
    store.set(3);
    expect(seen).toEqual([2]);
  });
});
