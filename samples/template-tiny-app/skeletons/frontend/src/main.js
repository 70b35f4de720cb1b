import { problem, table } from "./view.js";

const place = document.getElementById("metrics");
try {
  const [labels, answer] = await Promise.all([fetch("/labels.json"), fetch("/api/metrics")]);
  const { caption } = await labels.json();
  place.innerHTML = answer.ok ? table(await answer.json(), caption) : problem(`the backend answered ${answer.status}`);
} catch (error) {
  place.innerHTML = problem(error.message);
}
