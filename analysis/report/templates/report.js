/* Sorting of the report's tables by buttons in the headings.  Without it the page shows everything in its first order. */
"use strict";
(() => {
  const status = document.getElementById("sort-status");
  const words = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  /* What a row is sorted by: null where the value is missing. */
  function key(cell, numeric) {
    const text = cell.textContent.trim();
    if (!numeric) return text === "" || text === "–" ? null : text;
    const value = parseFloat("v" in cell.dataset ? cell.dataset.v : text.replaceAll(",", "").replace("−", "-"));
    return Number.isNaN(value) ? null : value;
  }

  function sort(heading) {
    const descending = heading.getAttribute("aria-sort") === "ascending";
    const body = heading.closest("table").tBodies[0];
    const index = heading.cellIndex;
    const numeric = heading.classList.contains("n");
    const rows = Array.from(body.rows, (row) => [key(row.cells[index], numeric), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); /* missing last, in both directions */
      const order = numeric ? a - b : words.compare(a, b);
      return descending ? -order : order;
    });
    body.append(...rows.map(([, row]) => row));
    for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
    const direction = descending ? "descending" : "ascending";
    heading.setAttribute("aria-sort", direction);
    status.textContent = "Sorted by " + heading.textContent.trim() + ", " + direction;
  }

  for (const table of document.querySelectorAll("table")) {
    if (table.tBodies[0].rows.length < 2) continue;
    for (const heading of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sort(heading));
      heading.append(button);
    }
  }
})();
