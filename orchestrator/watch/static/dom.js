// Small helpers for elements: no text of a study ever becomes HTML.
export const $ = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Fills a select, but keeps its choice, and leaves it alone while its options are the same.
export function options(select, values, keep = 1) {
  const wanted = values.map(String);
  const present = Array.from(select.options).slice(keep).map((option) => option.value);
  if (wanted.join("\n") === present.join("\n")) return;
  const chosen = select.value;
  while (select.options.length > keep) select.remove(keep);
  for (const value of wanted) select.append(make("option", { value }, value));
  select.value = wanted.includes(chosen) ? chosen : "";
}

let hide = 0;
export function toast(text, kind = "") {
  const element = $("toast");
  element.dataset.kind = kind;
  element.textContent = text;
  element.classList.add("shown");
  clearTimeout(hide);
  hide = setTimeout(() => element.classList.remove("shown"), kind === "error" ? 12000 : 6000);
}

export function pill(state) {
  return make("span", { class: "pill small", data: { state } }, state);
}

// Links to files of a table or chart, as the address of the page chooses and filters it now.
export function downloadLinks(name, formats) {
  const label = (form) => (form === "parquet" ? "Parquet" : form.toUpperCase());
  return formats.flatMap((form) => [make("a", { href: `download/${name}.${form}${location.search}`, download: "" }, label(form)), " "]).slice(0, -1);
}
