import { createStore } from "./store";

export interface Metric {
  name: string;
  value: number;
  unit: string;
}

export interface Report {
  environment: string;
  database: string;
  rows: Metric[];
}

export type State =
  | { phase: "loading" }
  | { phase: "failed"; reason: string }
  | { phase: "ready"; report: Report };

export const metrics = createStore<State>({ phase: "loading" });

export async function load(get: typeof fetch = fetch): Promise<void> {
  try {
    const answer = await get("/api/metrics");
    if (!answer.ok) {
      throw new Error(`the backend answered ${answer.status}`);
    }
    metrics.set({ phase: "ready", report: (await answer.json()) as Report });
  } catch (error) {
    metrics.set({ phase: "failed", reason: error instanceof Error ? error.message : String(error) });
  }
}
