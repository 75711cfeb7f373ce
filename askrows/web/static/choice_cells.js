// @ts-check
// The cell of a choice: a click loads its list, which opens at once, and closes without a choice if
// it is left.

import { find, listen, listenToHtmx } from "./dom.js";
import htmx from "./htmx.min.js";
import { loadOutdatedList } from "./row_list.js";

listen("click", (target) => {
  const button = target.closest("button.choice");
  if (button) {
    loadChoices(button);
  }
});

/** @param {HTMLButtonElement} button */
function loadChoices(button) {
  const cell = button.closest("td");
  const header = cell.closest("table").tHead.rows[0].cells[cell.cellIndex];
  const parameters = new URLSearchParams({
    task: button.form.dataset.chooses,
    key: cell.closest("tr").dataset.key,
    field: header.dataset.field,
  });
  const path = `/parts/cell?${parameters}`;
  htmx.ajax("GET", path, { source: button, target: cell, swap: "beforeend" });
}

listenToHtmx("after:settle", (_context, { target }) => {
  const choices = find("form.cell select");
  if (choices && choices !== document.activeElement) {
    choices.focus();
    // A browser refuses to open the list long after the click.
    try {
      choices.showPicker();
    } catch {}
  } else if (target instanceof HTMLTableCellElement && document.activeElement === document.body) {
    find("button", target).focus();
  }
});
listen("focusout", (target, { relatedTarget }) => {
  if (!relatedTarget?.closest("dialog")) {
    closeCell(target);
  }
});
listen("keydown", (target, { key }) => {
  if (key === "Escape" && target.matches("form.cell select")) {
    const button = find("button", target.closest("td"));
    target.blur();
    button.focus();
  }
});

/** @param {Element} field */
function closeCell(field) {
  const form = field.closest("form.cell:not(.htmx-request)");
  if (!form?.isConnected) {
    return;
  }
  form.remove();
  loadOutdatedList();
}
