import { useEffect } from "react";
import labels from "../labels.json";
import { load, metrics, type Report } from "../metrics";
import { useStore } from "../store";

export function Overview() {
  const state = useStore(metrics);
  useEffect(() => {
    void load();
  }, []);
  switch (state.phase) {
    case "loading":
      return <p role="status">Loading…</p>;
    case "failed":
      return <p role="alert">No metrics: {state.reason}.</p>;
    case "ready":
      return <MetricsTable report={state.report} />;
  }
}

export function MetricsTable({ report }: { report: Report }) {
  return (
    <>
      <table>
        <caption>{labels.caption}</caption>
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col">Value</th>
          </tr>
        </thead>
        <tbody>
          {report.rows.map((row) => (
            <tr key={row.name}>
              <th scope="row">{row.name}</th>
              <td>
                {row.value} {row.unit}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <p>
        From the database <code>{report.database}</code> in {report.environment}.
      </p>
    </>
  );
}
