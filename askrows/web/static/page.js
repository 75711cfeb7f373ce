"use strict";
// Behaviour of every page that htmx does not provide: keys, menus, focus, relative times,
// notices. The other scripts use it.

// A notice of success disappears after this time.
const NOTICE_MS = 8000;
// Checks whether the server answers.
const SERVER_CHECK_MS = 5000;
// Relative times are updated.
const CLOCK_MS = 30000;
// A page reloads this long after a command was started.
const RELOAD_DELAY_MS = 800;
// Errors then have the words of the page.
const JSON_HEADERS = { "content-type": "application/json", "hx-request": "true" };
const SERVER_AWAY_MESSAGE =
  "The page's server does not answer. Stored data and typed text are kept. " +
  "The page continues when the server is back.";
const SERVER_RESTARTED_MESSAGE =
  "The page's server was started again. Open its new address in this browser. " +
  "Typed text is kept.";
// Pages that Escape leads back to.
const LIST_PATHS = ["/", "/search", "/quality"];

// Keys

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

function isTyping(event) {
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

function focusField(field) {
  field.focus();
  field.select();
}

// Menus: an opened menu focuses its field, and a menu closes when the focus leaves it.

document.addEventListener(
  "toggle",
  ({ target }) => {
    const field = target.matches("details.menu[open]")
      ? target.querySelector("input:not([type])")
      : null;
    if (field) {
      focusField(field);
    }
  },
  true,
);
document.addEventListener("focusin", (event) => closeMenusExcept(event.target));
document.addEventListener("click", (event) => closeMenusExcept(event.target));

function closeMenusExcept(element) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = menu.contains(element);
  }
}

// Swaps: a part with data-quiet, which is polled, is replaced only if its HTML has changed. A
// replaced part keeps its open details and its focus, by element ids. If the focused element is
// gone, the element that it names in data-then gets the focus.

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
    isListOutdated = true;
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
  restoreChosenRows();
  prepareContent(event.target.parentElement || document);
});

document.addEventListener("DOMContentLoaded", () => prepareContent(document));
window.addEventListener("resize", () => makeWideContentScrollable(document));
setInterval(() => updateTimes(document), CLOCK_MS);

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

// A corrected row stays in its place, with its message, when the list loads itself again, even if
// the row does not pass the filter any more.

let keptRows = [];

function keepCorrectedRows({ detail }) {
  if (detail.requestConfig.triggeringEvent?.type === "rows-changed") {
    const rows = detail.target.querySelectorAll("tr:has(.saved)");
    keptRows = [...rows].map((row) => [row, row.sectionRowIndex]);
  }
}

function putRowsBack() {
  const body = document.querySelector("#rows tbody");
  for (const [row, index] of keptRows) {
    document.getElementById(row.querySelector("[data-hit]").id)?.closest("tr").remove();
    body.insertBefore(row, body.rows[index] || null);
    htmx.process(row);
  }
  keptRows = [];
}

// The cell of a choice: its list opens at once, and closes without a choice if it is left.

document.addEventListener("htmx:afterSettle", () => {
  const choices = document.querySelector("form.cell select");
  if (choices && choices !== document.activeElement) {
    choices.focus();
    // A browser refuses to open the list long after the click.
    try {
      choices.showPicker();
    } catch {}
  }
});
document.addEventListener("focusout", ({ target, relatedTarget }) => {
  if (!relatedTarget?.closest("dialog")) {
    closeCell(target);
  }
});
document.addEventListener("keydown", ({ target, key }) => {
  if (key === "Escape" && target.matches("form.cell select")) {
    const button = target.closest("td").querySelector("button");
    target.blur();
    button.focus();
  }
});

function closeCell(field) {
  const form = field.closest("form.cell:not(.htmx-request)");
  if (!form?.isConnected) {
    return;
  }
  form.remove();
  loadOutdatedList();
}

// The name of the person who corrects is asked when the first correction is saved.

let editorName = "";

document.addEventListener("htmx:confirm", (event) => {
  const { elt: element, issueRequest } = event.detail;
  const isKnown = editorName || document.querySelector("#who-name[data-known]");
  if (element.matches("[data-named]") && !isKnown) {
    event.preventDefault();
    askName(() => issueRequest(true));
  }
});
document.addEventListener("htmx:configRequest", (event) => {
  if (editorName && event.detail.elt.matches("[data-named]")) {
    event.detail.parameters.who = editorName;
  }
});
document.addEventListener("click", ({ target }) => {
  if ("rename" in target.dataset) {
    askName(() => {
      target.textContent = `Your name: ${editorName} (change)`;
    });
  }
});

function askName(continueNamed) {
  const dialog = document.getElementById("who");
  dialog.returnValue = "";
  dialog.onclose = () => {
    const name = dialog.querySelector("input").value.trim();
    if (dialog.returnValue && name) {
      editorName = name;
      continueNamed();
    } else {
      document.querySelector("form.cell")?.reset();
    }
  };
  dialog.showModal();
}

// Lists of rows: rows that change while their list is loaded are not in it, so it is loaded again.

let isListLoading = false;
let isListOutdated = false;

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

function loadOutdatedList() {
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

// Commands: a button that started a command shows a notice and updates the page.

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

function joinSentences(message, hint) {
  return hint ? `${message}. ${hint}` : message;
}

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

// Connection: a message is shown while the server does not answer, or if it was started again and
// has another token.

document.addEventListener("htmx:sendError", (event) => {
  if (event.detail.requestConfig.verb !== "get") {
    showNotice(
      "warn",
      "The page's server did not answer. Check whether the command ran before you press again.",
    );
  }
  checkServer();
});
document.addEventListener("htmx:responseError", checkServer);
setInterval(() => {
  if (document.visibilityState === "visible") {
    checkServer();
  }
}, SERVER_CHECK_MS);

async function checkServer() {
  const away = document.getElementById("away");
  const message = await connectionMessage();
  if (message === away.textContent) {
    return;
  }
  if (!message) {
    showNotice("done", "The page's server is back.");
  }
  away.textContent = message;
}

async function connectionMessage() {
  const response = await fetch("/static/README.md", { cache: "no-store" }).catch(() => null);
  if (!response) {
    return SERVER_AWAY_MESSAGE;
  }
  return response.ok ? "" : SERVER_RESTARTED_MESSAGE;
}

// Notices

let noticeTimer;

// Show one message at the edge of the page; "done" disappears by itself, "warn" stays.
function showNotice(kind, text) {
  const notice = document.getElementById("told");
  clearTimeout(noticeTimer);
  notice.replaceChildren();
  if (text) {
    notice.append(createLine(kind, text));
  }
  if (kind === "done") {
    noticeTimer = setTimeout(() => notice.replaceChildren(), NOTICE_MS);
  }
}

function createLine(className, text) {
  const paragraph = document.createElement("p");
  paragraph.className = className;
  paragraph.textContent = text;
  return paragraph;
}

// Screen readers announce background work when its data-told changes, not with each update.

const announcedKeys = new Set();

function announceWork(root) {
  const messages = [];
  for (const element of root.querySelectorAll("[data-told]")) {
    const message = element.dataset.told;
    const key = element.dataset.news + message;
    if (!announcedKeys.has(key)) {
      messages.push([key, message]);
    }
  }
  messages.forEach(([key]) => announcedKeys.add(key));
  // A reader reads the whole page when it opens.
  if (messages.length && root !== document) {
    const texts = messages.map(([, message]) => message);
    document.getElementById("heard").textContent = texts.join("; ");
  }
}

// Label of an element that scrolls.
const SCROLLS = "scrolls";

// An element that is wider than its place can be focused, so it scrolls by keys.
function makeWideContentScrollable(root) {
  for (const element of root.querySelectorAll(".wide, pre")) {
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

// Relative times

const TIME_UNITS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

// Write times relative to now; the exact time is in the title.
function updateTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const time = new Date(element.dateTime);
    const text = formatAge((Date.now() - time) / 1000);
    if (element.textContent !== text) {
      element.title = `${time.toISOString().slice(0, 19).replace("T", " ")} UTC`;
      element.textContent = text;
    }
  }
}

function formatAge(ageSeconds) {
  const fittingUnit = TIME_UNITS.find(([, seconds]) => Math.abs(ageSeconds) >= seconds);
  const [unit, unitSeconds] = fittingUnit || ["second", 1];
  const format = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  return format.format(-Math.round(ageSeconds / unitSeconds), unit);
}

// A range is a filter.

document.addEventListener("submit", (event) => {
  const { column, list } = event.target.dataset;
  if (column) {
    event.preventDefault();
    const limits = [...event.target.querySelectorAll("input")].map(({ value }) => value);
    if (limits.every(Boolean)) {
      limits.sort((first, second) => first - second);
    }
    const [low, high] = limits;
    const bounds = [low && `${column} >= ${low}`, high && `${column} <= ${high}`].filter(Boolean);
    location.assign(`${list}&only=${encodeURIComponent(bounds.join(" AND "))}`);
  }
});

// Chosen rows: a bar shows their number and the actions. Asking again shows the cost first.

function chosenIds(form) {
  return new FormData(form).getAll("id");
}

// Choose the same rows again after their list was replaced.
function restoreChosenRows() {
  const form = document.querySelector("form[data-chooses]");
  if (!form || !chosenRowIds.length) {
    return;
  }
  form.querySelectorAll("input[name=id]").forEach((checkbox) => {
    checkbox.checked = chosenRowIds.includes(checkbox.value);
  });
  chosenRowIds = [];
  showChosenCount(form);
}

document.addEventListener("change", ({ target }) => {
  const form = target.closest?.("form[data-chooses]");
  if (!form) {
    return;
  }
  if ("every" in target.dataset) {
    form.querySelectorAll("input[name=id]").forEach((checkbox) => {
      checkbox.checked = target.checked;
    });
  }
  showChosenCount(form);
});

function showChosenCount(form) {
  const chosenCount = chosenIds(form).length;
  const bar = form.querySelector(".chosen");
  bar.hidden = !chosenCount;
  bar.querySelector(".num").textContent = `${chosenCount} chosen`;
}

document.addEventListener("click", async ({ target }) => {
  const action = target.dataset?.act;
  const form = target.closest?.("form[data-chooses]");
  if (!action || !form) {
    return;
  }
  const ids = chosenIds(form);
  const task = encodeURIComponent(form.dataset.chooses);
  if (action === "export") {
    const parameters = new URLSearchParams(ids.map((id) => ["id", id]));
    location.assign(`/rows.csv?task=${task}&${parameters}`);
    return;
  }
  const path = `/api/tasks/${task}/rows`;
  let reply = action === "ask" ? await postJson(`${path}/cost`, { ids }) : {};
  // Without a cost there is nothing to confirm: asking says why.
  if (typeof reply.cost === "number" && !confirm(reply.question)) {
    return;
  }
  if (!reply.detail) {
    reply = await postJson(`${path}/${action}`, { ids });
  }
  if (!reply.detail) {
    form.reset();
    showChosenCount(form);
  }
  const message = joinSentences(reply.detail || reply.said || "Started", reply.hint);
  showNotice(reply.detail ? "warn" : "done", message);
});

async function postJson(address, body) {
  const response = await fetch(address, {
    method: "POST",
    headers: JSON_HEADERS,
    body: JSON.stringify(body),
  });
  return response.json();
}
