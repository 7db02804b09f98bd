// Header, tiles, settings, cells and details.
import { address, get, go, toTab } from "./address.js";
import { $, downloadLinks, make, pill, setText } from "./dom.js";
import { detailCharts } from "./charts.js";
import { buttons, cellText, progress } from "./tables.js";
import { MISSING, ago, clock, counted, duration, number, percent, short } from "./text.js";

const DRIVER = {
  running: "running",
  stale: "stale: no sign of life",
  finished: "finished",
  interrupted: "interrupted",
  failed: "failed",
  none: "no driver",
};
const PHASES = { searches: "searching", race: "race", retraining: "training the best cells", report: "writing the report" };

export function showHeader(header) {
  setText($("name"), header.name);
  const phase = header.driver === "running" && PHASES[header.phase] ? `: ${PHASES[header.phase]}` : "";
  setText($("driver"), `${DRIVER[header.driver]}${phase}`);
  $("driver").dataset.state = header.driver;
  const facts = [header.root];
  if (header.who && header.driver === "running") facts.push(`driver ${header.who}`);
  if (header.lease && header.lease !== header.who) facts.push(`lease held by ${header.lease}`);
  else if (header.lease) facts.push("holds the lease");
  if (header.resources) {
    const r = header.resources;
    facts.push(`${number(r.cpus_used)} of ${counted(r.cpus, "CPU")}`);
    if (r.gpus) facts.push(`${number(r.gpus_used)} of ${counted(r.gpus, "GPU")}`);
    facts.push(counted(r.nodes, "node"));
  }
  if (header.rows_waiting) facts.push(`${counted(header.rows_waiting, "row")} not yet written`);
  if (header.seconds_left !== null && header.seconds_left !== undefined) facts.push(`about ${duration(header.seconds_left)} left in this phase`);
  setText($("facts"), facts.join("  ·  "));
  const notices = [
    ...header.messages.map((text) => make("p", { class: "warn" }, text)),
    ...header.problems.map((text) => make("p", { class: "warn" }, `Left out, as it is damaged: ${text}`)),
  ];
  if (header.driver === "stale")
    notices.unshift(make("p", { class: "warn" }, `The driver has not written for a while (last ${ago(header.written_at)}): it died, or cannot reach the storage. Rerun its command to resume: `, make("code", {}, header.command)));
  $("notices").replaceChildren(...notices);
}

const ASKED = { stop: "stop search", seeds: "more seeds:", add: "add job", drop: "drop job", retry: "retry job", up: "move up job" };
const SHOWN_MS = 120000;

// Requests that wait for the driver, and those that it has just answered.
export function showRequests(requests, driver, now = Date.now()) {
  const recent = requests.filter(({ answered_at }) => !answered_at || now - Date.parse(answered_at) < SHOWN_MS);
  const items = recent.map((each) => {
    const wait = driver === "running" ? "waiting for the driver" : "waits for the next run of the study";
    const answer = each.verdict ? `${each.verdict} ${ago(each.answered_at, now)}${each.reason ? `: ${each.reason}` : ""}` : `${wait}, asked ${ago(each.asked_at, now)}`;
    const state = each.verdict === "refused" ? "failed" : each.verdict ? "done" : "running";
    return make("li", { class: "pill", data: { state, request: each.id } }, `${ASKED[each.kind] ?? each.kind} ${short(each.target)} – ${answer}`);
  });
  $("requests").replaceChildren(...items);
}

export function showAge(header) {
  setText($("age"), header?.written_at ? `data written ${ago(header.written_at)}` : "no data yet");
}

export function showTiles(tiles) {
  const counts = (values, order) => order.filter((state) => values[state]).map((state) => make("span", { class: "count-of", data: { state } }, `${values[state].toLocaleString("en-US")} ${state}`));
  const sum = (values) => Object.values(values).reduce((a, b) => a + b, 0);
  const tile = (title, value, notes, tab, values, ended) => {
    const link = make("a", { href: address(toTab(tab)), class: "tile", data: { go: "" } }, make("span", { class: "label" }, title), make("strong", {}, value), ...(values ? [bar(values)] : []), make("span", { class: "notes" }, ...notes));
    return link;
  };
  const oneShot = tiles.best_search;
  const cell = tiles.best_cell;
  const ended = (values, names) => names.reduce((total, name) => total + (values[name] ?? 0), 0);
  const s = tiles.searches;
  const t = tiles.trainings;
  $("tiles").replaceChildren(
    tile("Searches", `${ended(s, ["completed", "stopped"]).toLocaleString("en-US")} / ${sum(s).toLocaleString("en-US")}`, counts(s, ["running", "stale", "waiting", "stopped", "failed"]), "searches", s),
    tile("Trainings", `${ended(t, ["done"]).toLocaleString("en-US")} / ${(sum(t) - (t.dropped ?? 0)).toLocaleString("en-US")}`, sum(t) ? counts(t, ["running", "stale", "queued", "failed", "dropped"]) : ["none queued"], "trainings", t),
    tile("Highest one-shot accuracy", oneShot ? `${percent(oneShot.value)} %` : MISSING, [oneShot ? `${oneShot.label}; of ${oneShot.n}; need not rank cells` : "no result yet"], "searches"),
    tile("Test accuracy", cell ? `${percent(cell.test)} %` : MISSING, [cell ? `of ${cell.digest.slice(0, 8)}, best of ${counted(cell.n, "cell")} by validation` : "no cell is trained in full yet"], "trainings"),
    tile("Failures", tiles.failures.toLocaleString("en-US"), [tiles.failures ? "retried ones included" : "none"], "failures"),
  );
}

function bar(values) {
  const total = Object.values(values).reduce((a, b) => a + b, 0) || 1;
  const parts = ["completed", "done", "stopped", "running", "stale", "failed"].filter((state) => values[state]);
  const element = make("span", { class: "bar", "aria-hidden": "true" });
  for (const state of parts) {
    const part = make("span", { data: { state } });
    part.style.width = `${(100 * values[state]) / total}%`;
    element.append(part);
  }
  return element;
}

export function showSettings(settings, choices) {
  const heading = make("div", { class: "heading" }, make("h2", {}, "Settings"), make("span", { class: "soft hint" }, `one-shot validation accuracy, percent: ${choices.at}. It need not rank settings; see the report.`), downloads("settings"));
  if (!settings.total) return $("settings").replaceChildren(heading, make("p", { class: "note" }, "No search is known yet."));
  const names = ["setting", "with result", "running", "waiting", "failed", "median", "mean", "95 % interval", "range", "cells", "best search"];
  const head = names.map((name, index) => make("th", { scope: "col", class: index && index < 10 ? "n" : null }, name));
  const body = settings.order.map((name) => {
    const row = settings.rows[name];
    const c = row.counts;
    const interval = row.low === null ? MISSING : `${percent(row.low)} to ${percent(row.high)}`;
    const range = row.minimum === null ? MISSING : `${percent(row.minimum)} to ${percent(row.maximum)}`;
    const best = row.best ? make("a", { href: address({ search: row.best, job: "" }), title: row.best, data: { go: "" } }, short(row.best)) : MISSING;
    return make(
      "tr",
      { class: get("setting") === name ? "chosen" : null },
      make("th", { scope: "row" }, make("a", { href: address({ setting: get("setting") === name ? "" : name, page: "" }), data: { go: "" } }, name)),
      ...[row.n, c.running ?? 0, (c.waiting ?? 0) + (c.stale ?? 0), c.failed ?? 0].map((value) => make("td", { class: "n" }, value ? value.toLocaleString("en-US") : "0")),
      make("td", { class: "n" }, percent(row.median)),
      make("td", { class: "n" }, percent(row.mean)),
      make("td", { class: "n", title: row.method }, interval),
      make("td", { class: "n" }, range),
      make("td", { class: "n" }, String(row.cells)),
      make("td", {}, best),
    );
  });
  const left = settings.left_out ? [make("p", { class: "note" }, `${counted(settings.left_out, "more setting")} are not shown; the download has all.`)] : [];
  $("settings").replaceChildren(heading, make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body))), ...left);
}

// The queue by stage and rung.
export function showLevels(levels) {
  const names = ["stage", "jobs", "done", "running", "queued", "failed", "dropped", "mean valid. acc. %", "mean test acc. %"];
  const head = names.map((name, index) => make("th", { scope: "col", class: index ? "n" : null }, name));
  const body = levels.map(({ level, counts: c, n, valid, test }) => {
    const total = Object.values(c).reduce((a, b) => a + b, 0);
    const numbers = [total, c.done ?? 0, (c.running ?? 0) + (c.stale ?? 0), c.queued ?? 0, c.failed ?? 0, c.dropped ?? 0].map(String);
    const results = [percent(valid), test === null ? MISSING : `${percent(test)} (n = ${n})`];
    return make("tr", {}, make("th", { scope: "row" }, level), ...[...numbers, ...results].map((text) => make("td", { class: "n" }, text)));
  });
  $("levels").replaceChildren(...(levels.length ? [make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body))] : []));
}

export function showCells(cells, base) {
  if (!cells.total) return $("cells").replaceChildren(make("p", { class: "note" }, "No search has found a cell yet."));
  const ranked = `${counted(cells.best.length, "cell")} of ${cells.total} distinct ones, by validation accuracy in the full training. Test accuracies do not choose; the report recommends a cell.`;
  const unranked = `${counted(cells.best.length, "cell")} of ${cells.total} distinct ones, not ranked: none is trained in full yet.`;
  const note = make("p", { class: "note" }, cells.trained ? ranked : unranked);
  const drawn = cells.best.map((cell) =>
    make(
      "article",
      { class: "cell" },
      make("h3", {}, make("code", {}, cell.digest.slice(0, 8)), ` ${cell.setting}`),
      make("p", { class: "soft" }, [cell.valid === null ? null : `validation ${percent(cell.valid)} % (n = ${cell.trainings})`, cell.test === null ? null : `test ${percent(cell.test)} %`, `one-shot ${percent(cell.one_shot)} %`, `found by ${counted(cell.searches, "search", "searches")}`].filter(Boolean).join("  ·  ")),
      ...pictures(cell.digest, base),
    ),
  );
  $("cells").replaceChildren(note, make("div", { class: "cells" }, ...drawn));
}

function pictures(digest, base) {
  return ["normal", "reduce"].map((kind) => make("img", { src: `${base}cell/${digest}-${kind}.svg`, alt: `${kind === "normal" ? "Normal" : "Reduction"} cell of ${digest}`, loading: "lazy" }));
}

export function downloads(table) {
  const element = make("span", { class: "downloads", data: { table } });
  fillDownloads(element, table);
  return element;
}

export function fillDownloads(element, table) {
  element.replaceChildren("Download what is shown: ", ...downloadLinks(table, ["csv", "parquet"]));
}

let shownLog = "";
export function showDetail(detail, base, act) {
  const aside = $("detail");
  if (!detail) {
    aside.hidden = true;
    shownLog = "";
    return;
  }
  const close = make("button", { class: "quiet", "aria-label": "Close the details", id: "detail-close", onclick: () => go({ search: "", job: "" }) }, "×");
  const top = aside.scrollTop;
  const focused = document.activeElement?.id;
  if (detail.missing) {
    aside.replaceChildren(make("div", { class: "heading" }, make("h2", {}, `No ${detail.kind} ${detail.key}`), close), make("p", {}, "It is not in this study."));
    aside.hidden = false;
    return;
  }
  const rows = [["state", pill(detail.state)], ["epochs", progress(detail)]];
  if (detail.seconds_left !== null) rows.push(["time left", duration(detail.seconds_left)]);
  if (detail.node) rows.push(["runs on", `${detail.node}, attempt ${detail.attempt}`]);
  if (detail.reported_at) rows.push(["last report", ago(detail.reported_at)]);
  for (const [name, { value, text }] of Object.entries(detail.facts)) rows.push([make("span", { title: text }, name.replaceAll("_", " ")), cellText(name, value)]);
  const values = Object.entries(detail.values);
  const measures = values.length
    ? [
        make("h3", {}, "Values"),
        make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, ...["", "chosen epoch", "last", "best epoch", "which is"].map((name, i) => make("th", { scope: "col", class: i ? "n" : null }, name)))), make("tbody", {}, ...values.map(([name, v]) => make("tr", {}, make("th", { scope: "row" }, name.replaceAll("_", " ")), ...[v.result, v.last, v.best, v.best_epoch].map((value) => make("td", { class: "n" }, number(value)))))))),
      ]
    : [];
  const error = detail.error ? [make("h3", {}, "Error"), make("pre", {}, detail.error)] : [];
  const attempts = detail.attempts.length
    ? [
        make("h3", {}, detail.kind === "job" ? "Attempts that ended" : "Failures on the way"),
        make("ol", { class: "attempts" }, ...detail.attempts.map((each) => make("li", {}, `${clock(each.happened_at)} `, each.error || [each.status, each.test_accuracy === null ? null : `test ${percent(each.test_accuracy)} %`].filter(Boolean).join(", ")))),
      ]
    : [];
  const failed = detail.error || detail.attempts.some((each) => each.error);
  const log = make("pre", { id: "log", hidden: true, tabindex: "0" });
  const actions = document.body.dataset.mayAct === "yes" ? (detail.kind === "job" ? buttons(detail.key, detail.state, act) : stops(detail, act)) : [];
  const copy = make("button", { class: "quiet", onclick: () => navigator.clipboard?.writeText(detail.genotype) }, "Copy");
  const only = make("a", { href: address({ setting: detail.setting, seed: "", page: "" }), data: { go: "" } }, `All seeds of ${detail.setting}`);
  aside.replaceChildren(
    make("div", { class: "heading" }, make("h2", {}, detail.title), close),
    make("p", { class: "soft" }, make("code", {}, detail.key), detail.setting && detail.kind === "search" ? "  ·  " : "", detail.kind === "search" ? only : ""),
    make("p", { class: "buttons" }, ...actions),
    make("dl", {}, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])),
    ...error,
    ...attempts,
    ...(failed ? [make("h3", {}, "End of its last traceback"), log] : []),
    ...measures,
    ...(Object.keys(detail.curves).length ? [detailCharts(base, detail)] : []),
    ...(detail.digest ? [make("h3", {}, "Cell ", make("code", {}, detail.digest.slice(0, 8))), ...pictures(detail.digest, base), make("details", {}, make("summary", {}, "As text"), make("pre", { class: "wrap" }, detail.genotype), copy)] : []),
  );
  const opened = aside.hidden;
  aside.hidden = false;
  aside.scrollTop = opened ? 0 : top;
  if (opened || focused === "detail-close") $("detail-close").focus({ preventScroll: true });
  if (failed) showLog(`${base}log/${detail.key}`, log);
}

function stops(detail, act) {
  if (!["running", "waiting", "stale"].includes(detail.state)) return [];
  return [make("button", { class: "quiet", onclick: () => act("stop", detail.key, "Stop") }, "Stop after this epoch")];
}

const logs = new Map();
async function showLog(url, element) {
  if (!logs.has(url)) {
    const answer = await fetch(url);
    logs.set(url, answer.ok ? await answer.text() : "");
  }
  element.textContent = logs.get(url) || "No traceback was stored.";
  element.hidden = false;
}
