// The curves: one Vega view for each measure, whose data are replaced while its zoom stays, as it does for a new setting.
import { go } from "./address.js";
import { $, downloadLinks, make, setText } from "./dom.js";
import { number } from "./text.js";

// The ranges of the selection `zoom` of a chart, one for each axis; null where it is not zoomed.
const ZOOM_SIGNALS = ["zoom_epoch", "zoom_value"];
const views = new Map();
let signature = "";
let zoomForgotten = false;
let loading = null;
let latest = null;
let drawing = Promise.resolve();

function load() {
  loading ??= new Promise((resolve, reject) => {
    const script = make("script", { src: "/static/vega.js" });
    script.onload = resolve;
    script.onerror = () => {
      loading = null;
      script.remove();
      reject(new Error("the charts' script cannot be loaded"));
    };
    document.head.append(script);
  });
  return loading;
}

// One drawing at a time; of several that wait, the last counts.
export function showCurves(base, panel) {
  latest = panel;
  drawing = drawing.then(async () => {
    if (latest !== panel) return;
    try {
      await draw(base, panel);
    } catch (error) {
      setText($("curve-note"), `No curves: ${error.message}.`);
    }
  });
  return drawing;
}

async function draw(base, panel) {
  const none = Object.values(panel.measures).every((series) => !Object.keys(series).length);
  const band = "Median of the searches that reached each epoch, failed and running ones included, with their 10 to 90 % range, which is no confidence interval";
  const what = `${panel.lines ? "Single searches" : band}. Accuracy, loss and eigenvalue of different super-networks do not compare`;
  setText($("curve-note"), none ? "No epoch has been recorded yet." : [`${what}.`, ...panel.notes].join(" "));
  $("charts").hidden = none;
  $("legend").hidden = none;
  if (none) return;
  const wanted = JSON.stringify(panel.settings);
  if (wanted !== signature || !views.size) await build(base, panel, wanted);
  for (const [measure, { view, figure }] of views) {
    figure.querySelector(".downloads").replaceChildren(...downloadLinks(measure, ["pdf", "svg", "png"]));
    const series = panel.measures[measure];
    figure.hidden = !Object.keys(series).length;
    const rows = [];
    for (const { setting, search, epoch, value, low, high } of Object.values(series)) {
      for (let i = 0; i < epoch.length; i += 1)
        rows.push({ setting, search_id: search, epoch: epoch[i], value: value[i], low: low?.[i] ?? null, high: high?.[i] ?? null, chosen: search !== "" && search === panel.chosen });
    }
    view.data("curves", rows);
    await view.resize().runAsync(); // the axis may need more room
  }
}

async function build(base, panel, wanted) {
  const query = new URLSearchParams(panel.settings.map((name) => ["setting", name]));
  const [answer] = await Promise.all([fetch(`${base}charts?${query}`), load()]);
  if (!answer.ok) throw new Error(await answer.text());
  const { charts, colors } = await answer.json();
  const zooms = new Map();
  for (const [measure, { view, result }] of views) {
    if (!zoomForgotten) zooms.set(measure, ZOOM_SIGNALS.map((name) => view.signal(name)));
    result.finalize();
  }
  zoomForgotten = false;
  views.clear();
  $("charts").replaceChildren();
  $("legend").replaceChildren(
    ...Object.entries(colors).map(([name, color]) => {
      const swatch = make("span", { class: "swatch" });
      swatch.style.background = color;
      return make("li", {}, make("button", { class: "plain", title: `Only ${name}`, onclick: () => go({ setting: name, page: "" }) }, swatch, name));
    }),
  );
  const made = Object.entries(charts).map(([measure, spec]) => {
    const target = make("div", { class: "chart", role: "img", "aria-label": spec.layer?.[1]?.encoding?.y?.title ?? measure });
    const figure = make("figure", { data: { measure } }, make("figcaption", {}, title(spec, measure), make("span", { class: "downloads" })), target);
    $("charts").append(figure);
    return { measure, spec, target, figure };
  });
  for (const { measure, spec, target, figure } of made) { // once all figures share the width
    for (const layer of spec.layer) if (layer.encoding?.y) layer.encoding.y.title = null;
    const result = await embed(target, spec);
    zooms.get(measure)?.forEach((range, i) => range && result.view.signal(ZOOM_SIGNALS[i], range));
    views.set(measure, { result, view: result.view, figure });
    listen(target, measure, result.view);
  }
  signature = wanted;
}

const title = (spec, measure) => spec.layer?.map((layer) => layer.encoding?.y?.title).find(Boolean) ?? measure;

// The series and epoch nearest to the pointer.
function nearest(event, target, measure, view) {
  const box = target.querySelector("svg").getBoundingClientRect();
  const [left, top] = view.origin();
  const x = event.clientX - box.left - left;
  const y = event.clientY - box.top - top;
  if (x < -5 || y < -5 || x > view.width() + 5 || y > view.height() + 5) return null;
  let best = null;
  for (const series of Object.values(latest?.measures[measure] ?? {})) {
    for (let i = 0; i < series.epoch.length; i += 1) {
      const dx = view.scale("x")(series.epoch[i]) - x;
      const dy = view.scale("y")(series.value[i]) - y;
      const distance = dx * dx * 4 + dy * dy; // the epoch under the pointer first
      if (!best || distance < best.distance) best = { distance, series, i };
    }
  }
  return best;
}

function listen(target, measure, view) {
  const tip = $("tip");
  target.addEventListener("pointermove", (event) => {
    const found = nearest(event, target, measure, view);
    if (!found) return void (tip.hidden = true);
    const { series, i } = found;
    const lines = [series.setting, series.search ? `search ${series.search}` : `n = ${series.n[i]}`, `epoch ${series.epoch[i]}: ${number(series.value[i], 5)}`];
    if (series.low) lines.push(`10 to 90 %: ${number(series.low[i])} to ${number(series.high[i])}`);
    tip.replaceChildren(...lines.map((line) => make("div", {}, line)));
    tip.hidden = false;
    const width = tip.offsetWidth;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
  });
  target.addEventListener("pointerleave", () => (tip.hidden = true));
  let down = null;
  target.addEventListener("pointerdown", (event) => (down = [event.clientX, event.clientY]));
  target.addEventListener("click", (event) => {
    if (!down || Math.hypot(event.clientX - down[0], event.clientY - down[1]) > 4) return; // a drag moves the chart
    const found = nearest(event, target, measure, view);
    if (!found || found.distance > 900) return;
    go(found.series.search ? { search: found.series.search, job: "" } : { setting: found.series.setting, page: "" });
  });
}

// The curves of the search or job in the details: elements that stay while it is shown.
let shown = { key: "", element: null, views: new Map() };

export function detailCharts(base, detail) {
  if (shown.key !== detail.key) {
    for (const { result } of shown.views.values()) result?.finalize();
    shown = { key: detail.key, element: make("div", { class: "small-charts" }), views: new Map(), ready: null };
    shown.ready = buildDetail(base, detail, shown);
  }
  const mine = shown;
  mine.ready = mine.ready.then(async () => {
    for (const [measure, { view }] of mine.views) {
      const { epoch, value } = detail.curves[measure] ?? { epoch: [], value: [] };
      view.data("curves", epoch.map((each, i) => ({ setting: detail.setting, search_id: "", epoch: each, value: value[i], low: null, high: null, chosen: false })));
      await view.resize().runAsync();
    }
  }).catch((error) => setText(mine.element, `No curves: ${error.message}.`));
  return mine.element;
}

async function buildDetail(base, detail, mine) {
  const [answer] = await Promise.all([fetch(`${base}charts?${new URLSearchParams([["setting", detail.setting]])}`), load()]);
  const { charts } = await answer.json();
  for (const [measure, { label }] of Object.entries(detail.curves)) {
    const spec = structuredClone(Object.values(charts)[0]);
    spec.height = 120;
    for (const layer of spec.layer) if (layer.encoding?.y) layer.encoding.y.title = null;
    const target = make("div", { class: "chart", role: "img", "aria-label": label });
    mine.element.append(make("figure", {}, make("figcaption", {}, label), target));
    const result = await embed(target, spec);
    mine.views.set(measure, { result, view: result.view });
  }
}

const embed = (target, spec) => window.vegaEmbed(target, spec, { mode: "vega-lite", ast: true, renderer: "svg", actions: false, defaultStyle: false, logLevel: 1, tooltip: () => {} });

export function resetZoom() {
  signature = "";
  zoomForgotten = true;
}

// For tests and the curious: the range that a chart shows.
export const domain = (measure) => views.get(measure)?.view.scale("x").domain();
window.pcdartsDomain = domain;
