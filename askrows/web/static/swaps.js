// @ts-check
// Swaps: a part with data-quiet, which is polled, is replaced only if its HTML has changed. A
// replaced part keeps its open details and its focus, by element ids. If the focused element is
// gone, the element that it names in data-then gets the focus.

import { chosenIds, restoreChosenRows } from "./chosen_rows.js";
import { updateTimes } from "./relative_times.js";
import { keepCorrectedRows, outdateList, putRowsBack } from "./row_list.js";
import { makeWideContentScrollable } from "./scrolling.js";
import { announceWork } from "./work_announcements.js";

const lastHtmlById = new Map();
let openDetailsIds = [];
let focusIds = [];
let chosenRowIds = [];

document.addEventListener("htmx:beforeSwap", (event) => {
  const { target, xhr } = event.detail;
  if (!target) {
    return;
  }
  if ("quiet" in target.dataset) {
    const hasChanged = lastHtmlById.get(target.id) !== xhr.responseText;
    event.detail.shouldSwap = event.detail.shouldSwap && hasChanged;
    lastHtmlById.set(target.id, xhr.responseText);
  }
  // A poll does not replace a form that is being edited, and a list waits for its cell.
  if (event.detail.requestConfig.verb === "get" && target.querySelector("details[open][data-edit]")) {
    event.detail.shouldSwap = false;
  }
  if (target.id === "list" && target.querySelector("form.cell")) {
    event.detail.shouldSwap = false;
    outdateList();
  }
  if (event.detail.shouldSwap) {
    keepEditors(target, event.detail.requestConfig.elt);
    keepCorrectedRows(event);
  }
  // Nor does it close a list of choices that is in use.
  const isPoll = event.detail.requestConfig.elt === target;
  if (isPoll && target.querySelector("form[data-edit] select:focus")) {
    event.detail.shouldSwap = false;
    lastHtmlById.delete(target.id);
  }
  // The server decides whether the form of a field stays open.
  const openDetails = target.querySelectorAll("details[open][id]:not([data-edit])");
  openDetailsIds = [...openDetails].map((details) => details.id);
  chosenRowIds = [...target.querySelectorAll("form[data-chooses]")].flatMap(chosenIds);
  focusIds = [];
  const focused = document.activeElement;
  if (target.contains(focused)) {
    const ids = [focused.id, focused.dataset.then, target.id];
    focusIds = ids.filter(Boolean);
  }
});

document.addEventListener("htmx:afterSwap", putEditorsBack);
document.addEventListener("htmx:afterSwap", putRowsBack);
document.addEventListener("htmx:afterSettle", (event) => {
  for (const id of openDetailsIds) {
    document.getElementById(id)?.setAttribute("open", "");
  }
  openDetailsIds = [];
  for (const id of focusIds) {
    if (document.activeElement === document.body) {
      document.getElementById(id)?.focus({ preventScroll: true });
    }
  }
  focusIds = [];
  restoreChosenRows(chosenRowIds);
  chosenRowIds = [];
  prepareContent(event.target.parentElement || document);
});

document.addEventListener("DOMContentLoaded", () => prepareContent(document));
window.addEventListener("resize", () => makeWideContentScrollable(document));

function prepareContent(root) {
  updateTimes(root);
  makeWideContentScrollable(root);
  announceWork(root);
}

// Editors of a row that are open, or were typed in after they were sent, stay when a late reply
// replaces the row. Their next save is about the present answer.

let keptEditors = [];

document.addEventListener("input", ({ target }) => {
  const editor = target.closest("[data-edit]");
  if (editor) {
    editor.dataset.typed = "";
  }
});
document.addEventListener("htmx:beforeRequest", ({ target }) => {
  delete target.closest("[data-edit]")?.dataset.typed;
});

function keepEditors(target, savedForm) {
  keptEditors = [...target.querySelectorAll("details[data-edit]")].filter(
    (editor) => "typed" in editor.dataset || (editor.open && !editor.contains(savedForm)),
  );
}

function putEditorsBack() {
  for (const editor of keptEditors) {
    const newEditor = document.getElementById(editor.id);
    if (newEditor && newEditor !== editor) {
      const newState = newEditor.querySelector("[name=state]").value;
      editor.querySelector("[name=state]").value = newState;
      newEditor.replaceWith(editor);
      htmx.process(editor);
    }
  }
  keptEditors = [];
}
