// The page of one study.
import { address, get, go, onChange, query, toTab } from "./address.js";
import { resetZoom, showCurves } from "./charts.js";
import { $, make, options, setText, toast } from "./dom.js";
import { fillDownloads, showAge, showCells, showDetail, showHeader, showLevels, showRequests, showSettings, showTiles } from "./panels.js";
import { Stream } from "./stream.js";
import { showTable } from "./tables.js";

const base = location.pathname;
const mayAct = document.body.dataset.mayAct === "yes";
const TABLES = ["searches", "trainings", "failures"];
const stream = new Stream(base, show, troubled);
const started = performance.now();
let lastSeen = 0;
let loadedReport = "";

function show(state, changed) {
  const begun = performance.now();
  lastSeen = Date.now();
  const tab = get("tab");
  if (changed.has("error")) troubled(state.error ?? "");
  if (!state.header) return;
  if (changed.has("header")) showHeader(state.header);
  showAge(state.header);
  showRequests(state.requests, state.header.driver);
  if (changed.has("tiles")) showTiles(state.tiles);
  if (changed.has("choices")) showChoices(state.choices);
  if (tab === "overview" && state.settings) {
    if (changed.has("settings") || changed.has("choices") || stale) showSettings(state.settings, state.choices);
    if (changed.has("cells") || stale) showCells(state.cells, base);
    if (changed.has("curves") || stale) showCurves(base, state.curves).then(() => timed(begun, "drawn"));
  }
  if (TABLES.includes(tab) && state.table?.name === tab && (changed.has("table") || stale)) showTable(state.table, act);
  $("levels").hidden = tab !== "trainings";
  if (tab === "trainings" && state.levels && (changed.has("levels") || stale)) showLevels(state.levels);
  if (changed.has("detail") || stale) showDetail(state.detail, base, act);
  showEmpty(state, tab);
  if (tab === "report") showReport(state);
  stale = false;
  document.body.dataset.first ||= String(Math.round(performance.now() - started));
  timed(begun, "shown");
}

// For tests and benchmarks: how often the page has been shown, or its curves drawn, and the milliseconds it took last.
function timed(begun, what) {
  document.body.dataset[what] = String(Number(document.body.dataset[what] ?? 0) + 1);
  document.body.dataset.update = String(Math.round(performance.now() - begun));
}

// Whether the address has changed since the last drawing.
let stale = true;

function showChoices(choices) {
  options($("setting"), choices.settings);
  options($("seed"), choices.seeds);
  if (choices.states.length) options($("state"), choices.states);
  $("setting").value = get("setting");
  $("seed").value = get("seed");
  $("state").value = get("state");
  setText($("at-note"), "");
  $("epoch").max = Math.max(0, choices.epochs - 1);
}

function showEmpty(state, tab) {
  const table = state.table;
  let text = "";
  if (state.header.empty) text = "Nothing has been stored yet. Searches appear here as soon as the driver starts them.";
  else if (TABLES.includes(tab) && table?.name === tab && !table.matching) {
    const none = { searches: "No search is known yet.", trainings: "No cell is queued for training yet.", failures: "Nothing has failed." };
    text = table.total ? "No row matches the filters. Press a to show all settings and seeds." : none[tab];
  }
  $("empty").hidden = !text;
  setText($("empty"), text);
}

function showReport(state) {
  const frame = $("report-frame");
  const ended = (state.tiles.searches.completed ?? 0) + (state.tiles.searches.stopped ?? 0) + (state.tiles.searches.failed ?? 0);
  $("report").hidden = !ended;
  if (!ended) {
    $("empty").hidden = false;
    setText($("empty"), "The report begins with the first search that ends.");
  } else if (!loadedReport) {
    loadedReport = `${base}report`;
    frame.src = loadedReport;
    $("report-link").href = loadedReport;
  }
}

function troubled(text) {
  const wanted = text ? [make("p", { class: "warn", id: "trouble" }, text)] : [];
  $("trouble")?.remove();
  $("notices").prepend(...wanted);
  document.body.classList.toggle("lost", Boolean(text));
}

// The address has changed: show the tab, mark what is chosen, and ask for what it needs.
function follow() {
  stale = true;
  const tab = get("tab");
  for (const link of document.querySelectorAll("#tabs a")) {
    link.href = address(toTab(link.dataset.tab));
    if (link.dataset.tab === tab) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  $("overview").hidden = tab !== "overview";
  $("table").hidden = !TABLES.includes(tab);
  $("report").hidden = true;
  $("choose").hidden = tab === "report";
  $("add-form").hidden = !(mayAct && tab === "trainings");
  $("seeds-form").hidden = !mayAct;
  $("at").parentElement.hidden = tab === "trainings" || tab === "failures";
  const at = get("at");
  $("at").value = /^\d+$/.test(at) ? "epoch" : at;
  $("epoch-label").hidden = $("at").value !== "epoch" || $("at").parentElement.hidden;
  if ($("at").value === "epoch") $("epoch").value = at;
  for (const name of ["setting", "seed", "state", "every", "lines"]) $(name).value = get(name);
  if (document.activeElement !== $("q")) $("q").value = get("q");
  if (TABLES.includes(tab)) fillDownloads($("table-downloads"), tab);
  fillDownloads(document.querySelector('[data-table="curves"]'), "curves");
  const asked = query();
  asked.delete("every");
  stream.watch(asked.toString(), get("every"));
  if (stream.state.header) show(stream.state, new Set());
}

async function act(action, target, label = action) {
  try {
    const answer = await fetch(`${base}actions`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ action, target }),
    });
    if (!answer.ok) throw new Error((await answer.text()).trim());
    const { done } = await answer.json();
    toast(`${done}.`);
    return true;
  } catch (error) {
    toast(error instanceof TypeError ? `${label}: the server does not answer.` : error.message, "error");
    return false;
  }
}

function onForm(form, input, action) {
  $(form).addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = $(input).value.trim();
    if (text && (await act(action, text))) $(input).value = "";
  });
}

function turn(step) {
  const table = stream.state.table;
  if (table && table.page + step >= 1 && table.page + step <= table.pages) go({ page: table.page + step });
}

async function chooseColumns() {
  const tab = get("tab");
  const answer = await fetch(`${base}columns?tab=${tab}`);
  const list = await answer.json();
  const chosen = new Set(stream.state.table?.names ?? []);
  const boxes = list.map(({ name, label, text }) => {
    const box = make("input", { type: "checkbox", value: name, checked: chosen.has(name) });
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(name);
      else chosen.delete(name);
      go({ columns: [...chosen].join(",") }, { replace: true });
    });
    return make("label", { class: "column", data: { words: `${name} ${label} ${text}`.toLowerCase() } }, box, make("span", {}, make("b", {}, label), label === name ? "" : ` (${name})`, make("span", { class: "soft" }, ` ${text}`)));
  });
  $("columns-list").replaceChildren(...boxes);
  $("columns-filter").value = "";
  $("columns-dialog").showModal();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input, select, textarea");
  if (event.key === "Escape") {
    if (typing?.id === "q") typing.blur();
    else if (!document.querySelector("dialog[open]")) go({ search: "", job: "" });
    return;
  }
  if (typing || document.querySelector("dialog[open]")) return;
  const tabs = ["overview", "searches", "trainings", "failures", "report"];
  if (event.key in { 1: 1, 2: 1, 3: 1, 4: 1, 5: 1 }) go(toTab(tabs[Number(event.key) - 1]));
  else if (event.key === "/") $("table").hidden ? go(toTab("searches")) : null;
  else if (event.key === "n") turn(1);
  else if (event.key === "p") turn(-1);
  else if (event.key === "a") go({ setting: "", seed: "", q: "", state: "", page: "" });
  else if (event.key === "u") go({ every: get("every") === "0" ? "" : "0" });
  else if (event.key === "z") again();
  else if (event.key === "?") $("help").showModal();
  else return;
  event.preventDefault();
  if (event.key === "/") $("q").focus();
}

function again() {
  resetZoom();
  if (stream.state.curves) showCurves(base, { ...stream.state.curves });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-go], #tabs a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  const there = new URL(link.href);
  if (there.search !== location.search) {
    history.pushState(null, "", there.search || location.pathname);
    follow();
  }
});
document.addEventListener("keydown", onKey);
for (const name of ["setting", "seed", "state"]) $(name).addEventListener("change", () => go({ [name]: $(name).value, page: "" }));
for (const name of ["every", "lines"]) $(name).addEventListener("change", () => go({ [name]: $(name).value }));
$("at").addEventListener("change", () => go({ at: $("at").value === "epoch" ? $("epoch").value || "0" : $("at").value, page: "" }));
$("epoch").addEventListener("change", () => go({ at: String(Math.max(0, Math.floor(Number($("epoch").value) || 0))), page: "" }));
let typed = 0;
$("q").addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(() => go({ q: $("q").value, page: "" }, { replace: true }), 150);
});
$("previous").addEventListener("click", () => turn(-1));
$("next").addEventListener("click", () => turn(1));
$("columns-open").addEventListener("click", chooseColumns);
$("columns-usual").addEventListener("click", () => {
  go({ columns: "" });
  $("columns-dialog").close();
});
$("columns-filter").addEventListener("input", () => {
  const word = $("columns-filter").value.toLowerCase();
  for (const label of $("columns-list").children) label.hidden = !label.dataset.words.includes(word);
});
$("help-open").addEventListener("click", () => $("help").showModal());
$("reset").addEventListener("click", again);
$("report-again").addEventListener("click", () => ($("report-frame").src = `${base}report`));
onForm("add-form", "add-target", "add");
onForm("seeds-form", "seeds-target", "seeds");
onChange(follow);
setInterval(() => {
  if (!stream.state.header) return;
  showAge(stream.state.header);
  showRequests(stream.state.requests, stream.state.header.driver);
}, 1000);
follow();
