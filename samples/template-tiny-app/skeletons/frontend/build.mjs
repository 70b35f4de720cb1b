// "Builds" the page: what the browser needs goes to dist/, and the labels go into the HTML.
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";

const labels = JSON.parse(await readFile("src/labels.json", "utf8"));
const escape = (text) => text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

await rm("dist", { recursive: true, force: true });
await mkdir("dist");
await cp("src", "dist", { recursive: true });
const page = await readFile("src/index.html", "utf8");
await writeFile("dist/index.html", page.replaceAll("%title%", escape(labels.title)));
console.log(`dist/: ${(await readdir("dist")).join(", ")}`);
