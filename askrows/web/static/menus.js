// @ts-check
// Menus: an opened menu focuses its field, and a menu closes when the focus leaves it.

import { find, findAll, listen } from "./dom.js";
import { focusField } from "./keys.js";

listen(
  "toggle",
  (target) => {
    const field = target.matches("details.menu[open]") && find("input:not([type])", target);
    if (field) {
      focusField(field);
    }
  },
  true,
);
listen("focusin", closeMenusExcept);
listen("click", closeMenusExcept);

/** @param {Element} element */
function closeMenusExcept(element) {
  for (const menu of findAll("details.menu[open]")) {
    menu.open = menu.contains(element);
  }
}
