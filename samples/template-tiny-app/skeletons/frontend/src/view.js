// The page's content as text, so that tests need no browser.
const escape = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

export function table({ environment, database, rows }, caption) {
  const lines = rows.map((row) => `<tr><th scope="row">${escape(row.name)}</th><td>${escape(row.value)} ${escape(row.unit)}</td></tr>`);
  return (
    `<table><caption>${escape(caption)}</caption><tbody>${lines.join("")}</tbody></table>` +
    `<p>From the database <code>${escape(database)}</code> in ${escape(environment)}.</p>`
  );
}

export const problem = (reason) => `<p role="alert">No metrics: ${escape(reason)}.</p>`;
