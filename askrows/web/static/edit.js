// @ts-check
// Forms that correct an answer: lines of lists, and quotations that are selected in the text.

import { find, findAll, listen } from "./dom.js";

// Id of the quotation that a selection fills: the one that had the focus last. A refused form
// replaces it by another element.
let quotationId = "";
let newLineCount = 0;

listen("click", (target) => {
  if ("add" in target.dataset) {
    addLine(target.closest("[data-lines]"));
  } else if ("remove" in target.dataset) {
    removeLine(target.closest("li"));
  }
});

// Lines that the server wrote count from 0; new lines have other names.
function addLine(lines) {
  newLineCount += 1;
  const template = find(":scope > template", lines);
  const html = template.innerHTML.replaceAll(lines.dataset.lines, `new${newLineCount}`);
  const list = find(":scope > ul", lines);
  list.insertAdjacentHTML("beforeend", html);
  focusFirstInput(list.lastElementChild);
}

function removeLine(line) {
  const addButton = find(":scope > [data-add]", line.closest("[data-lines]"));
  line.remove();
  addButton.focus();
  // Input in the form: it has one line less.
  addButton.dispatchEvent(new Event("input", { bubbles: true }));
}

function focusFirstInput(element) {
  find("input:not([type=hidden]), select, textarea", element)?.focus();
}

listen("toggle", (target) => {
  if (!target.open || !("edit" in target.dataset)) {
    return;
  }
  closeOtherForms(target);
  if (document.activeElement === find("summary", target)) {
    focusFirstInput(target);
  }
});

// A shared name would do this too, but a browser closes a form that is inserted with a refusal
// while the form that it replaces is still open.
function closeOtherForms(form) {
  for (const other of findAll("[data-edit][open]")) {
    other.open = other === form;
  }
}

listen("focusin", (target) => {
  if ("quotation" in target.dataset) {
    quotationId = target.id;
  } else if (target.matches("[data-edit] :not(button)")) {
    quotationId = "";
  }
});

listen("selectionchange", () => {
  const selection = document.getSelection();
  const text = find("#text");
  const words = selection.toString().trim();
  const isInText = text?.contains(selection.anchorNode) && text.contains(selection.focusNode);
  /** @type {any} */
  const field = document.getElementById(quotationId);
  if (words && isInText && field?.closest("[open]")) {
    field.value = words;
  }
});
