// @ts-check
// An element that is wider than its place can be focused, so it scrolls by keys.

import { findAll } from "./dom.js";

// Label of an element that scrolls.
const SCROLLS = "scrolls";

/** @param {ParentNode} root */
export function makeWideContentScrollable(root) {
  for (const element of findAll(".wide, pre", root)) {
    const hasRole = element.hasAttribute("role") && element.getAttribute("aria-label") !== SCROLLS;
    // An alert keeps its role.
    if (hasRole) {
      continue;
    }

    const isTooWide = element.scrollWidth > element.clientWidth;
    const isTooHigh = element.scrollHeight > element.clientHeight;
    if (isTooWide || isTooHigh) {
      element.tabIndex = 0;
      element.setAttribute("role", "group");
      element.setAttribute("aria-label", SCROLLS);
    } else {
      ["tabindex", "role", "aria-label"].forEach((name) => element.removeAttribute(name));
    }
  }
}
