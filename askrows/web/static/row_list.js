// @ts-check
// A corrected row stays in its place, with its message, when the list loads itself again, even if
// the row does not pass the filter any more.

import { joinSentences } from "./notices.js";

/** @type {[HTMLTableRowElement, number][]} */
let keptRows = [];

export function keepCorrectedRows({ detail }) {
  if (detail.requestConfig.triggeringEvent?.type === "rows-changed") {
    const rows = detail.target.querySelectorAll("tr:has(.saved)");
    keptRows = [...rows].map((row) => [row, row.sectionRowIndex]);
  }
}

export function putRowsBack() {
  const body = document.querySelector("#rows tbody");
  for (const [row, index] of keptRows) {
    document.getElementById(row.querySelector("[data-hit]").id)?.closest("tr").remove();
    body.insertBefore(row, body.rows[index] || null);
    htmx.process(row);
  }
  keptRows = [];
}

// Lists of rows: rows that change while their list is loaded are not in it, so it is loaded again.

let isListLoading = false;
let isListOutdated = false;

export function outdateList() {
  isListOutdated = true;
}

document.addEventListener(
  "rows-changed",
  () => {
    isListOutdated ||= isListLoading;
  },
  true,
);
document.addEventListener("htmx:beforeRequest", (event) => {
  isListLoading ||= isForList(event);
});
document.addEventListener("htmx:afterRequest", (event) => {
  isListLoading &&= !isForList(event);
  loadOutdatedList();
});

export function loadOutdatedList() {
  if (isListOutdated && !isListLoading && !document.querySelector("form.cell")) {
    isListOutdated = false;
    setTimeout(() => htmx.trigger(document.body, "rows-changed"));
  }
}

function isForList(event) {
  return event.detail.requestConfig.path.startsWith("/parts/rows");
}

// A filter that was refused says why; the list stays.
document.addEventListener("htmx:afterRequest", ({ detail: { elt: element, xhr } }) => {
  if (element.matches(".find")) {
    const reply = xhr.status >= 400 ? JSON.parse(xhr.responseText) : { detail: "" };
    document.getElementById("find-message").textContent = joinSentences(reply.detail, reply.hint);
  }
});
