// @ts-check
// Menus: a menu closes when the focus leaves it.

import { findAll, listen } from "./dom.js";

listen("focusin", closeMenusExcept);
listen("click", closeMenusExcept);

/** @param {Element} element */
function closeMenusExcept(element) {
  for (const menu of findAll("details.menu[open]")) {
    menu.open = menu.contains(element);
  }
}
