// Portolan's portal. Every page reads without this file; it adds live parts, the search palette and kinder forms.
"use strict";

// Live parts: an element with data-live="URL" listens there; each "part" event carries the element's new HTML.
// Only nodes that differ are touched, so focus, selection and scroll stay where they are.
function morph(from, to) {
  if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName) { from.replaceWith(to.cloneNode(true)); return; }
  if (from.nodeType === Node.TEXT_NODE) { if (from.data !== to.data) from.data = to.data; return; }
  if (from.nodeType !== Node.ELEMENT_NODE) return;
  for (const { name } of [...from.attributes]) if (!to.hasAttribute(name) && name !== "open") from.removeAttribute(name);
  for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  const olds = [...from.childNodes], news = [...to.childNodes];
  news.forEach((child, i) => (olds[i] ? morph(olds[i], child) : from.append(child.cloneNode(true))));
  olds.slice(news.length).forEach((child) => child.remove());
}

function listen(element) {
  const lost = document.querySelector(".connection");
  const source = new EventSource(element.dataset.live);
  source.addEventListener("part", (event) => {
    const next = new DOMParser().parseFromString(event.data, "text/html").body.firstElementChild;
    const log = element.querySelector(".log");
    const following = log && log.scrollTop + log.clientHeight >= log.scrollHeight - 40;
    if (next) morph(element, next);
    if (following) log.scrollTop = log.scrollHeight;
  });
  source.addEventListener("end", () => source.close());
  source.addEventListener("open", () => { if (lost) lost.hidden = true; });
  source.addEventListener("error", () => { if (lost && source.readyState !== EventSource.CLOSED) lost.hidden = false; });
}
document.querySelectorAll("[data-live]").forEach(listen);

// Relative times move on by themselves; the server wrote them first.
const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
setInterval(() => {
  for (const time of document.querySelectorAll("time[data-relative]")) {
    const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time.dateTime)) / 1000));
    const [unit, size] = units.find(([, size]) => seconds >= size) || units[3];
    const count = Math.floor(seconds / size);
    const text = seconds < 5 ? "just now" : `${count} ${unit}${count === 1 ? "" : "s"} ago`;
    if (time.textContent !== text) time.textContent = text;
  }
}, 5000);

// Search: "/" or Ctrl-K opens it; arrows and Enter choose.
const palette = document.querySelector("dialog.palette");
if (palette) {
  const input = palette.querySelector("input"), list = palette.querySelector("ul");
  let pending = 0, chosen = -1;
  const open = () => { palette.showModal(); input.value = ""; list.replaceChildren(); input.focus(); };
  const choose = (index) => {
    const links = [...list.querySelectorAll("a")];
    chosen = links.length ? (index + links.length) % links.length : -1;
    links.forEach((link, i) => link.setAttribute("aria-selected", i === chosen));
    if (links[chosen]) links[chosen].scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
    if ((event.key === "/" && !typing) || (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey))) { event.preventDefault(); open(); }
  });
  document.querySelectorAll(".search input").forEach((field) => field.addEventListener("focus", () => { field.blur(); open(); }));
  input.addEventListener("input", async () => {
    const turn = ++pending;
    const answer = await fetch(`/search?fragment=1&q=${encodeURIComponent(input.value)}`);
    if (turn !== pending || !answer.ok) return;
    list.replaceChildren(...new DOMParser().parseFromString(await answer.text(), "text/html").body.children);
    choose(0);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") { event.preventDefault(); choose(chosen + 1); }
    if (event.key === "ArrowUp") { event.preventDefault(); choose(chosen - 1); }
    if (event.key === "Enter") { event.preventDefault(); const link = list.querySelectorAll("a")[chosen]; if (link) link.click(); }
  });
}

// Copy buttons.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) navigator.clipboard.writeText(button.dataset.copy).then(() => { const label = button.textContent; button.textContent = "Copied"; setTimeout(() => { button.textContent = label; }, 1500); });
});

// The preview beside a form follows what is typed.
document.addEventListener("input", (event) => {
  for (const place of document.querySelectorAll("[data-mirror]"))
    if (place.dataset.mirror === event.target.name) place.textContent = event.target.value || place.dataset.empty;
});

// A form is sent once.
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (button && event.target.dataset.once !== undefined) setTimeout(() => { button.disabled = true; }, 0);
});

// Theme: automatic, light, dark.
const theme = document.querySelector("[data-theme-switch]");
if (theme) theme.addEventListener("click", () => {
  const order = ["auto", "light", "dark"], now = localStorage.getItem("theme") || "auto";
  const next = order[(order.indexOf(now) + 1) % 3];
  localStorage.setItem("theme", next);
  if (next === "auto") document.documentElement.removeAttribute("data-theme"); else document.documentElement.dataset.theme = next;
  theme.textContent = `Theme: ${next}`;
});
