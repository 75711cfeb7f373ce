// @ts-check
// Commands: a button that started a command shows a notice and updates the page.

import { joinSentences, showNotice } from "./notices.js";

// A page reloads this long after a command was started.
const RELOAD_DELAY_MS = 800;

document.addEventListener("htmx:afterRequest", (event) => {
  const { elt: element, xhr, requestConfig } = event.detail;
  const contentType = xhr.getResponseHeader("content-type") || "";
  if (requestConfig.verb === "get" || !contentType.includes("json")) {
    return;
  }
  const reply = JSON.parse(xhr.responseText);
  if (xhr.status >= 400) {
    showNotice("warn", joinSentences(reply.detail, reply.hint));
  } else {
    showNotice("done", reply.said || "");
    if (reply.page) {
      const link = ` <a href="${reply.page}">Show</a>`;
      document.querySelector("#told p").insertAdjacentHTML("beforeend", link);
    }
    updatePage(element.dataset);
  }
});

// The element that data-then names is replaced by that of the page or part in data-renews. With
// data-reloads the page is loaded again.
function updatePage({ renews, then: targetId, reloads }) {
  if (renews) {
    const target = `#${targetId || "health"}`;
    htmx.ajax("GET", renews, { target, select: target, swap: "outerHTML" });
  } else if (reloads !== undefined) {
    setTimeout(() => location.reload(), RELOAD_DELAY_MS);
  }
}

// Commands take their options as JSON.
htmx.defineExtension("json", {
  onEvent(name, event) {
    if (name === "htmx:configRequest") {
      event.detail.headers["Content-Type"] = "application/json";
    }
    return true;
  },
  encodeParameters(_xhr, values) {
    const filled = [...values].filter(([, value]) => value !== "");
    return JSON.stringify(Object.fromEntries(filled));
  },
});
