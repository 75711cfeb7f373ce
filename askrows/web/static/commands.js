// @ts-check
// Commands: a button that started a command shows a notice and updates the page.

import { find, listenToHtmx } from "./dom.js";
import htmx from "./htmx.min.js";
import { describeError, showNotice } from "./notices.js";

// A page reloads this long after a command was started.
const RELOAD_DELAY_MS = 800;

listenToHtmx("after:request", ({ request, response, sourceElement, text }) => {
  const isJson = response.headers.get("content-type")?.includes("json");
  const reply = isJson ? JSON.parse(text) : {};
  const message = describeError(reply);
  // A filter that was refused says why; the list stays.
  if (sourceElement.matches(".find")) {
    find("#find-message").textContent = message;
  }
  if (request.method === "GET" || !isJson) {
    return;
  }
  if (message) {
    showNotice("warn", message);
    return;
  }
  showNotice("done", reply.said);
  if (reply.page) {
    const link = ` <a href="${reply.page}">Show</a>`;
    find("#told p").insertAdjacentHTML("beforeend", link);
  }
  if (sourceElement instanceof HTMLFormElement) {
    sourceElement.reset();
  }
  updatePage(sourceElement.dataset);
});

// The element that data-then names is replaced by that of the page or part in data-renews. With
// data-reloads the page is loaded again.
/** @param {DOMStringMap} data */
function updatePage({ renews, then: targetId, reloads }) {
  if (renews) {
    const target = `#${targetId}`;
    htmx.ajax("GET", renews, { target, select: target, swap: "outerMorph" });
  } else if (reloads !== undefined) {
    setTimeout(() => location.reload(), RELOAD_DELAY_MS);
  }
}

// Commands take their options as JSON.
listenToHtmx("before:request", ({ request, sourceElement }) => {
  if ("json" in sourceElement.dataset) {
    const filled = [...request.body].filter(([, value]) => value !== "");
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(Object.fromEntries(filled));
  }
});
