"use strict";
(() => {
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
  const table = document.getElementById("files");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const path = document.getElementById("filter-path");
  const word = document.getElementById("filter-word");
  const shown = document.getElementById("shown");
  const key = (row, at) => row.cells[at].dataset.key ?? row.cells[at].textContent.trim();
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, undefined, { numeric: true }) : x - y;
  };
  const filter = () => {
    let count = 0;
    for (const row of rows) {
      const fits = row.cells[0].textContent.toLowerCase().includes(path.value.toLowerCase())
        && (!word.value || row.dataset.word === word.value);
      row.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${rows.length} files shown`;
  };
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, at) => head.firstElementChild.addEventListener("click", () => {
    const falling = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const sorted = [...rows].sort((a, b) => (falling ? -1 : 1) * compare(key(a, at), key(b, at)));
    body.append(...sorted);
  }));
  path.addEventListener("input", filter);
  word.addEventListener("change", filter);
})();
