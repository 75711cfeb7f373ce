// @ts-check
// The cell of a choice: its list opens at once, and closes without a choice if it is left.

import { loadOutdatedList } from "./row_list.js";

document.addEventListener("htmx:afterSettle", () => {
  const choices = document.querySelector("form.cell select");
  if (choices && choices !== document.activeElement) {
    choices.focus();
    // A browser refuses to open the list long after the click.
    try {
      choices.showPicker();
    } catch {}
  }
});
document.addEventListener("focusout", ({ target, relatedTarget }) => {
  if (!relatedTarget?.closest("dialog")) {
    closeCell(target);
  }
});
document.addEventListener("keydown", ({ target, key }) => {
  if (key === "Escape" && target.matches("form.cell select")) {
    const button = target.closest("td").querySelector("button");
    target.blur();
    button.focus();
  }
});

function closeCell(field) {
  const form = field.closest("form.cell:not(.htmx-request)");
  if (!form?.isConnected) {
    return;
  }
  form.remove();
  loadOutdatedList();
}
