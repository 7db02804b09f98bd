// The table of a tab: rows stay the same elements, so that an update moves neither scroll nor focus.
import { address, get, go } from "./address.js";
import { $, make, pill, setText } from "./dom.js";
import { MISSING, ago, clock, counted, duration, number, percent, short } from "./text.js";

const TIMES = new Set(["finished_at", "started_at", "happened_at", "submitted_at", "retry_at"]);
const DURATIONS = new Set(["seconds_left", "seconds"]);
const DIGESTS = new Set(["genotype_digest", "search_id", "job_id", "subject"]);
const PERCENT = /accuracy|top5/;
const elements = new Map();
let signature = "";

export function cellText(name, value) {
  if (value === null || value === undefined || value === "") return MISSING;
  if (TIMES.has(name)) return clock(value);
  if (DURATIONS.has(name)) return duration(value);
  if (PERCENT.test(name) && typeof value === "number") return percent(value);
  if (name === "origins") return Array.isArray(value) ? value.map((each) => each.slice(0, 8)).join(", ") : value;
  if (DIGESTS.has(name)) return short(value);
  return Array.isArray(value) ? value.map((each) => number(each)).join(", ") : number(value);
}

export function showTable(table, act) {
  const target = $("rows");
  const head = JSON.stringify([table.name, table.names, get("sort"), table.columns]);
  if (head !== signature) {
    signature = head;
    elements.clear();
    target.replaceChildren(makeTable(table));
  }
  const body = target.querySelector("tbody");
  for (const [key, row] of elements) {
    if (!table.order.includes(key)) {
      row.element.remove();
      elements.delete(key);
    }
  }
  table.order.forEach((key, place) => {
    if (!elements.has(key)) elements.set(key, { element: make("tr"), shown: null });
    const row = elements.get(key);
    if (body.children[place] !== row.element) body.insertBefore(row.element, body.children[place] ?? null);
    if (row.shown !== table.rows[key]) {
      fill(row.element, key, table, act);
      row.shown = table.rows[key];
    }
    row.element.classList.toggle("chosen", key === get("search") || key === get("job"));
  });
  const first = (table.page - 1) * Number(get("size") || 50) + 1;
  const range = table.matching > table.order.length ? `rows ${first.toLocaleString("en-US")} to ${(first + table.order.length - 1).toLocaleString("en-US")} of ` : "";
  const of = table.matching < table.total ? ` of ${table.total.toLocaleString("en-US")}` : "";
  setText($("count"), `${range}${counted(table.matching, "row")}${of}`);
  setText($("page-number"), `${table.page} / ${table.pages}`);
  $("previous").disabled = table.page <= 1;
  $("next").disabled = table.page >= table.pages;
  target.parentElement.classList.toggle("none", table.matching === 0);
}

function makeTable(table) {
  const sort = get("sort");
  const headings = table.names.map((name) => {
    const column = table.columns[name];
    const sorted = sort.replace(/^-/, "") === name ? (sort.startsWith("-") ? "descending" : "ascending") : null;
    const order = () => go({ sort: sorted === "ascending" || (!sorted && !column.text) ? (sorted === "descending" ? name : `-${name}`) : name, page: "" });
    const button = make("button", { onclick: order, title: `Sort by ${name}` }, column.label);
    return make("th", { scope: "col", class: column.text ? null : "n", "aria-sort": sorted }, button);
  });
  if (table.name === "trainings" && document.body.dataset.mayAct === "yes") headings.push(make("th", { scope: "col" }, "act"));
  return make("table", { class: "rows" }, make("thead", {}, make("tr", {}, ...headings)), make("tbody"));
}

function fill(element, key, table, act) {
  const row = table.rows[key];
  const cells = table.names.map((name, index) => {
    const value = row[name];
    const text = cellText(name, value);
    const full = typeof value === "string" && value !== text ? value : null;
    const kind = table.columns[name].text ? (["error", "reason"].includes(name) ? "long" : null) : "n";
    if (index === 0) return make("th", { scope: "row" }, opener(table.name, key, row, text, full));
    if (name === "state") return make("td", {}, pill(value));
    if (name === "progress") return make("td", { class: "n" }, progress(row));
    if (name === "subject" && row.kind !== "storage" && row.kind !== "driver")
      return make("td", {}, make("a", { href: address({ [row.kind === "training" ? "job" : "search"]: value }), data: { go: "" }, title: full }, text));
    return make("td", { class: kind, title: full ?? (kind === "long" ? value : null) }, text);
  });
  if (table.name === "trainings" && document.body.dataset.mayAct === "yes") cells.push(make("td", { class: "buttons" }, ...buttons(key, row.state, act)));
  element.replaceChildren(...cells);
}

function opener(name, key, row, text, full) {
  if (name === "failures") return make("span", { title: row.happened_at ? ago(row.happened_at) : null }, text);
  const changed = name === "searches" ? { search: key, job: "" } : { job: key, search: "" };
  return make("a", { href: address(changed), title: full ?? key, data: { go: "" } }, text);
}

export function progress(row) {
  if (!row.epochs && row.epochs_done) return String(row.epochs_done); // of a search that no configuration names
  if (!row.epochs || (!row.epochs_done && row.state === "completed")) return MISSING; // a random cell trains none
  const bar = make("progress", { max: row.epochs, value: Math.min(row.epochs_done ?? 0, row.epochs), "aria-hidden": "true" });
  return make("span", { class: "progress" }, bar, `${row.epochs_done ?? 0} / ${row.epochs}`);
}

export function buttons(key, state, act) {
  const made = (label, action, title) =>
    make("button", { class: "quiet", title, onclick: () => act(action, key, label) }, label);
  if (state === "queued") return [made("Up", "up", "Run it before the others of its stage"), made("Drop", "drop", "Take it out of the queue")];
  if (state === "running") return [made("Drop", "drop", "End it and take it out of the queue")];
  if (state === "failed") return [made("Retry", "retry", "Queue it again"), made("Drop", "drop", "Take it out of the queue")];
  return state === "dropped" ? [made("Retry", "retry", "Queue it again")] : [];
}
