
/* Draws the charts, and keeps one choice of settings and seeds in all of them.  Each chart has the selections "setting" and
   "seed" where its rows have these fields; Vega keeps what is chosen in the data set NAME_store. */
"use strict";
(() => {
  const specs = JSON.parse(document.getElementById("charts").textContent);
  const bar = document.getElementById("chosen");
  const chosen = { setting: [], seed: [] };
  const views = [];
  const drawn = new Map();

  /* The rows of a data set that analysis/report/data_sets.py packed. */
  function unpacked({ rows, columns }) {
    const names = Object.keys(columns);
    const value = (column, i) => Array.isArray(column) ? column[i] : "value" in column ? column.value : column.texts[column.places[i]];
    return Array.from({ length: rows }, (_, i) => Object.fromEntries(names.map((name) => [name, value(columns[name], i)])));
  }

  function has(view, name) {
    return name in view.getState({ signals: (signal) => signal === name, data: () => false }).signals;
  }

  function stored(name) {
    return chosen[name].map((value) => ({ unit: "", fields: [{ type: "E", field: name }], values: [value] }));
  }

  /* Take over a choice, from the view where it was made or from a button. */
  function choose(name, values, source) {
    if (JSON.stringify(values) === JSON.stringify(chosen[name])) return;
    chosen[name] = values;
    for (const view of views) if (view !== source && has(view, name)) view.data(name + "_store", stored(name)).runAsync();
    for (const item of document.querySelectorAll("li[data-setting] button")) {
      item.setAttribute("aria-pressed", chosen.setting.includes(item.parentNode.dataset.setting));
    }
    for (const select of document.querySelectorAll(".choice select")) select.value = chosen.seed.length ? chosen.seed[0] : "";
    bar.hidden = !chosen.setting.length && !chosen.seed.length;
    const words = [...chosen.setting, ...chosen.seed.map((seed) => "seed " + seed)];
    bar.firstChild.textContent = "Highlighted: " + words.join(", ");
  }

  async function draw(element) {
    const spec = specs[element.dataset.chart];
    for (const name of Object.keys(spec.datasets)) spec.datasets[name] = unpacked(spec.datasets[name]);
    const options = { mode: "vega-lite", ast: true, renderer: "svg", actions: false, tooltip: { theme: "page" } };
    const { view } = await vegaEmbed(element, spec, options);
    views.push(view);
    for (const name of ["setting", "seed"]) {
      if (!has(view, name)) continue;
      if (chosen[name].length) view.data(name + "_store", stored(name));
      view.addDataListener(name + "_store", (_, entries) => choose(name, entries.map((entry) => entry.values[0]), view));
    }
    await view.runAsync();
  }

  function once(element) {
    if (!drawn.has(element)) drawn.set(element, draw(element));
    return drawn.get(element);
  }

  function button(text, action) {
    const made = document.createElement("button");
    made.type = "button";
    made.append(...text);
    made.addEventListener("click", action);
    return made;
  }

  for (const item of document.querySelectorAll("li[data-setting]")) {
    const name = item.dataset.setting;
    const toggle = (event) => {
      const others = event.shiftKey ? chosen.setting.filter((other) => other !== name) : [];
      choose("setting", chosen.setting.includes(name) ? others : [...others, name]);
    };
    const made = button(item.childNodes, toggle);
    made.setAttribute("aria-pressed", "false");
    item.append(made);
  }
  for (const list of document.querySelectorAll(".choice")) {
    const seeds = list.dataset.seeds.split(" ").filter(Boolean);
    if (seeds.length < 2) continue;
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.append(new Option("all", ""), ...seeds.map((seed) => new Option(seed, seed)));
    select.addEventListener("change", () => choose("seed", select.value === "" ? [] : [Number(select.value)]));
    label.append("seed ", select);
    const item = document.createElement("li");
    item.append(label);
    list.append(item);
  }
  bar.append(
    document.createElement("span"),
    button(["Show all"], () => { choose("setting", []); choose("seed", []); })
  );

  /* What is about to be seen is drawn first, the rest one by one when the browser has time, to be there when printed. */
  const elements = Array.from(document.querySelectorAll("[data-chart]"));
  const near = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => once(entry.target)),
    { rootMargin: "400px" }
  );
  elements.forEach((element) => near.observe(element));
  const rest = elements.slice();
  async function next() {
    const element = rest.shift();
    if (!element) return document.documentElement.setAttribute("data-drawn", "");
    await once(element);
    setTimeout(next, 0);
  }
  setTimeout(next, 0);
})();
