// @ts-check
// Keys of every page: Escape goes back, / searches, and j and k move through a list.

// Pages that Escape leads back to.
const LIST_PATHS = ["/", "/search", "/quality"];
const STEP_BY_KEY = { j: 1, k: -1 };

document.addEventListener("keydown", (event) => {
  const menu = document.querySelector("details.menu[open]");
  if (event.key === "Escape" && menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  } else if (event.key === "Escape" && !isTyping(event)) {
    goBackToList();
  } else if (event.key === "/" && !isTyping(event)) {
    event.preventDefault();
    goToSearch();
  }
});

export function isTyping(event) {
  const isInField = event.target.matches("input, textarea, select");
  return isInField || event.ctrlKey || event.metaKey || event.altKey;
}

// Go back from a row to the list that linked to it, unless the text of an open form would be lost.
function goBackToList() {
  const hasOpenForm = document.querySelector("main details[open] form");
  const listLink = document.querySelector("[data-back]");
  if (listLink && !hasOpenForm) {
    listLink.click();
  }
}

// The link leads to the list, or to the search, that linked to the row.
document.addEventListener("click", (event) => {
  const referrer = new URL(document.referrer || location.href);
  const isFromList = referrer.origin === location.origin && LIST_PATHS.includes(referrer.pathname);
  if (event.target.closest?.("[data-back]") && isFromList) {
    event.preventDefault();
    history.back();
  }
});

function goToSearch() {
  const field = document.querySelector("main input[name=q], main input[name=find]");
  if (field) {
    focusField(field);
  } else {
    document.querySelector("a.place[href^='/search']")?.click();
  }
}

export function focusField(field) {
  field.focus();
  field.select();
}

// Lists: j and k move the focus between the elements with data-hit.
document.addEventListener("keydown", (event) => {
  const step = STEP_BY_KEY[event.key];
  const hits = [...document.querySelectorAll("[data-hit]")];
  if (isTyping(event) || !step || !hits.length) {
    return;
  }
  event.preventDefault();
  const nextIndex = hits.indexOf(event.target) + step;
  hits[Math.min(Math.max(nextIndex, 0), hits.length - 1)].focus();
});
