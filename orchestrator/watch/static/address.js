// What the page shows is in its address: the server reads the same query.
const USUAL = { tab: "overview", at: "result", page: "1" };
let then = () => {};

export const query = () => new URLSearchParams(location.search);
export const get = (name) => query().get(name) ?? USUAL[name] ?? "";

// Address with some parameters changed; empty values are left out.
export function address(changed) {
  const now = query();
  for (const [name, value] of Object.entries(changed)) {
    if (value === "" || value === null || String(value) === USUAL[name]) now.delete(name);
    else now.set(name, value);
  }
  const text = now.toString();
  return text ? `?${text}` : location.pathname;
}

export function go(changed, { replace = false } = {}) {
  const there = address(changed);
  if (there === (location.search || location.pathname)) return;
  history[replace ? "replaceState" : "pushState"](null, "", there);
  then();
}

export function onChange(callback) {
  then = callback;
  addEventListener("popstate", callback);
}

// Another tab: its table begins at the first page, in its usual order.
export const toTab = (tab) => ({ tab, page: "", sort: "", columns: "", state: "", q: "" });
