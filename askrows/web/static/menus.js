// @ts-check
// Menus: an opened menu focuses its field, and a menu closes when the focus leaves it.

import { focusField } from "./keys.js";

document.addEventListener(
  "toggle",
  ({ target }) => {
    const field = target.matches("details.menu[open]")
      ? target.querySelector("input:not([type])")
      : null;
    if (field) {
      focusField(field);
    }
  },
  true,
);
document.addEventListener("focusin", (event) => closeMenusExcept(event.target));
document.addEventListener("click", (event) => closeMenusExcept(event.target));

function closeMenusExcept(element) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = menu.contains(element);
  }
}
