"use strict";
(() => {
  const find = document.getElementById("find");
  const found = document.getElementById("found");
  const cards = [...document.querySelectorAll(".card")].map((node) => [node, node.dataset.find.toLowerCase()]);
  const groups = [...document.querySelectorAll(".group")];
  find.closest("p").hidden = false;
  find.addEventListener("input", () => {
    const words = find.value.toLowerCase().replaceAll("_", " ").split(/\s+/).filter(Boolean);
    let count = 0;
    for (const [node, text] of cards) {
      node.hidden = !words.every((word) => text.includes(word));
      count += node.hidden ? 0 : 1;
    }
    for (const group of groups) group.hidden = !group.querySelector(".card:not([hidden])");
    found.textContent = words.length ? count + " of " + cards.length : "";
  });

  for (const table of document.querySelectorAll(".sortable")) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
        const order = (a, b) => (isNaN(value(a)) ? value(b).localeCompare(value(a)) : value(b) - value(a));
        const rows = [...body.rows].sort(order);
        if (up) rows.reverse();
        body.append(...rows);
      });
    });
  }
})();
