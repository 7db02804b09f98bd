// The list of studies in one place.
import { $, make, pill, setText } from "./dom.js";
import { ago, counted } from "./text.js";

let studies = [];

function show() {
  const word = $("q").value.toLowerCase();
  const found = studies.filter(({ name }) => name.toLowerCase().includes(word));
  $("studies").replaceChildren(
    ...found.map(({ name, state, written_at }) =>
      make("tr", {}, make("th", { scope: "row" }, make("a", { href: `/study/${encodeURIComponent(name)}/` }, name)), make("td", {}, state ? pill(state) : "–"), make("td", {}, ago(written_at))),
    ),
  );
  setText($("count"), found.length < studies.length ? `${found.length} of ${counted(studies.length, "study", "studies")}` : counted(studies.length, "study", "studies"));
}

async function load() {
  if (!document.hidden) {
    try {
      const answer = await fetch("/studies");
      if (!answer.ok) throw new Error(await answer.text());
      studies = await answer.json();
      $("empty").hidden = studies.length > 0;
      setText($("empty"), "This folder holds no study yet.");
      show();
    } catch (error) {
      $("empty").hidden = false;
      setText($("empty"), error instanceof TypeError ? "The server does not answer." : error.message);
    }
  }
  setTimeout(load, 10000);
}

$("q").addEventListener("input", show);
load();
