// @ts-check
// Keys of every page: Escape goes back, / searches, and j and k move through a list.

import { find, findAll, listen } from "./dom.js";

// Pages that Escape leads back to.
const LIST_PATHS = ["/", "/search", "/quality"];
const STEP_BY_KEY = { j: 1, k: -1 };

listen("keydown", (_target, event) => {
  const menu = find("details.menu[open]");
  if (event.key === "Escape" && menu) {
    menu.open = false;
    find("summary", menu).focus();
  } else if (event.key === "Escape" && !isTyping(event)) {
    goBackToList();
  } else if (event.key === "/" && !isTyping(event)) {
    event.preventDefault();
    goToSearch();
  }
});

/** @param {any} event */
export function isTyping(event) {
  const isInField = event.target.matches("input, textarea, select");
  return isInField || event.ctrlKey || event.metaKey || event.altKey;
}

// Go back from a row to the list that linked to it, unless the text of an open form would be lost.
function goBackToList() {
  const hasOpenForm = find("main details[open] form");
  const listLink = find("[data-back]");
  if (listLink && !hasOpenForm) {
    listLink.click();
  }
}

// The link leads to the list, or to the search, that linked to the row.
listen("click", (target, event) => {
  const referrer = new URL(document.referrer || location.href);
  const isFromList = referrer.origin === location.origin && LIST_PATHS.includes(referrer.pathname);
  if (target.closest("[data-back]") && isFromList) {
    event.preventDefault();
    history.back();
  }
});

function goToSearch() {
  const field = find("main input[name=q], main input[name=find]");
  if (field) {
    field.focus();
    field.select();
  } else {
    find("a.place[href^='/search']")?.click();
  }
}

// Lists: j and k move the focus between the elements with data-hit.
listen("keydown", (target, event) => {
  const step = STEP_BY_KEY[event.key];
  const hits = findAll("[data-hit]");
  if (isTyping(event) || !step || !hits.length) {
    return;
  }
  event.preventDefault();
  const nextIndex = hits.indexOf(target) + step;
  hits[Math.max(nextIndex, 0)]?.focus();
});
