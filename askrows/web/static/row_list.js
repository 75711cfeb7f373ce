// @ts-check
// Lists of rows: rows that change while their list is loaded are not in it, so it is loaded again.
// It waits for an open cell.

import { find, findAll, listen, listenToHtmx } from "./dom.js";
import htmx from "./htmx.min.js";

let listRequestCount = 0;
let isListOutdated = false;

listen("rows-changed", () => {
  isListOutdated ||= listRequestCount > 0;
});
listenToHtmx("before:request", (context) => {
  listRequestCount += isForList(context);
});
listenToHtmx("finally:request", (context) => {
  listRequestCount -= isForList(context);
  loadOutdatedList();
});
listenToHtmx("before:swap", ({ sourceEvent, target }, event) => {
  if (target?.id !== "list") {
    return;
  }
  if (find("form.cell", target)) {
    event.preventDefault();
    isListOutdated = true;
  } else if (sourceEvent?.type === "rows-changed") {
    keepCorrectedRows(event.detail.tasks[0]);
  }
});

/** @param {import("./dom.js").RequestContext} context */
function isForList({ request }) {
  return Number(request.action.startsWith("/parts/rows"));
}

export function loadOutdatedList() {
  if (isListOutdated && !listRequestCount && !find("form.cell")) {
    isListOutdated = false;
    setTimeout(() => htmx.trigger(document.body, "rows-changed"));
  }
}

// A corrected row stays in its place, with its message, when the list loads itself again, even if
// the row does not pass the filter any more.
function keepCorrectedRows({ target, fragment }) {
  const body = find("tbody", fragment);
  for (const row of findAll("tr:has(.saved)", target)) {
    fragment.getElementById(row.id)?.remove();
    body.insertBefore(row.cloneNode(true), body.rows[row.sectionRowIndex] || null);
  }
}
