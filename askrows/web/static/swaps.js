// @ts-check
// Swaps: htmx morphs a part into its new HTML, so elements that stay keep focus and typed text.
// Open details stay open. If the focused element is gone or hidden, the element that it names in
// data-then gets the focus.

import { find, listen, listenToHtmx } from "./dom.js";
import htmx from "./htmx.min.js";
import { updateTimes } from "./relative_times.js";
import { announceWork } from "./work_announcements.js";

/** @type {string[]} */
let focusIds = [];
/** @type {Element} */
let swapSource = document.body;
const typedEditors = new WeakSet();

htmx.registerExtension("morphing", {
  htmx_before_morph_attr: morphAttribute,
  htmx_before_morph_node: morphEditor,
});

// The server decides whether the form of a field stays open. A choice of the server that changed
// replaces that of the person.
function morphAttribute(element, { attrName, newValue }) {
  if (attrName === "selected" || attrName === "checked") {
    element[attrName] = newValue !== null;
  }
  return attrName !== "open" || "edit" in element.dataset;
}

// Editors of a row that are open, or were typed in after they were sent, stay when a late reply
// replaces the row. Their next save is about the present answer.
function morphEditor(editor, { newNode }) {
  if (!editor.matches("details[data-edit]")) {
    return true;
  }
  const isOpenForOther = editor.open && !editor.contains(swapSource);
  if (!isOpenForOther && !typedEditors.has(editor)) {
    find("form", editor).reset();
    return true;
  }
  find("[name=state]", editor).value = find("[name=state]", newNode).value;
  return false;
}

listen("input", (target) => {
  const editor = target.closest("[data-edit]");
  if (editor) {
    typedEditors.add(editor);
  }
});
listenToHtmx("before:request", ({ sourceElement }) => {
  typedEditors.delete(sourceElement.closest("[data-edit]"));
});

listenToHtmx("after:request", (context) => {
  // White space around a part would stay beside it.
  context.text = context.text.trim();
});
listenToHtmx("before:swap", ({ sourceElement, target }) => {
  swapSource = sourceElement;
  const focused = /** @type {HTMLElement} */ (document.activeElement);
  const ids = target?.contains(focused) ? [focused.id, focused.dataset.then, target.id] : [];
  focusIds = ids.filter(Boolean);
});
listenToHtmx("after:settle", (_context, event) => {
  for (const id of focusIds) {
    if (!isFocusVisible()) {
      document.getElementById(id)?.focus({ preventScroll: true });
    }
  }
  focusIds = [];
  prepareContent(event.target.parentElement || document);
});

function isFocusVisible() {
  const focused = document.activeElement;
  return focused !== document.body && focused.checkVisibility();
}

/** @param {ParentNode} root */
function prepareContent(root) {
  updateTimes(root);
  announceWork(root);
}

// The script runs after the page was read.
prepareContent(document);
