"use strict";
// What htmx does not do: "/" goes to the search, menus close, the focus stays where one was, what happens is told once,
// times are relative, and the form that adds a person shows what came of it.

const TOLD_MS = 20000; // so long what went well is shown
const LOOK_MS = 5000; // between two looks whether the server is there
const AWAY =
  "The page's server does not answer. What was stored is kept, and what is typed here stays; this goes on by itself once it is back.";
const ANEW = "The page was started again. Open the address that it printed then in this browser; what is typed here stays.";

document.addEventListener("keydown", (event) => {
  const menu = document.querySelector("details.menu[open]");
  if (event.key === "Escape" && menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
  if (event.key === "Escape" && !menu && !isTyping(event)) {
    goBack();
  }
  if (event.key === "/" && !isTyping(event)) {
    event.preventDefault();
    focused(document.querySelector("main input[name=q], main input[name=find]")) || document.querySelector("a.place[href^='/search']")?.click();
  }
});

// From one item back to the list that led there, unless a form is open, whose text would be lost.
const LISTS = ["/", "/search", "/quality"];
function goBack() {
  const from = document.referrer && new URL(document.referrer);
  const isOpen = document.querySelector("main details[open] form");
  if (document.querySelector("[data-back]") && from && from.origin === location.origin && LISTS.includes(from.pathname) && !isOpen) {
    history.back();
  }
}

function isTyping(event) {
  return event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey;
}

// A menu that is opened has the focus in its field, and one that is left is closed.
document.addEventListener("toggle", ({ target }) => target.matches("details.menu[open]") && focused(target.querySelector("input:not([type])")), true);
document.addEventListener("focusin", (event) => closeMenus(event.target));
document.addEventListener("click", (event) => closeMenus(event.target));

function closeMenus(where) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = menu.contains(where);
  }
}

function focused(field) {
  field?.focus();
  field?.select();
  return field;
}

// Parts that are asked for again and again take their place only where they say something new. What is put in the place
// of something else has the focus where that had it, by its id; where that is gone, what it named in data-then has it.
const last = new Map();
let opened = [];
let then = [];
document.addEventListener("htmx:beforeSwap", (event) => {
  const { target, xhr } = event.detail;
  if (!target) {
    return;
  }
  if ("quiet" in target.dataset) {
    event.detail.shouldSwap = event.detail.shouldSwap && last.get(target.id) !== xhr.responseText;
    last.set(target.id, xhr.responseText);
  }
  [opened, then] = [[], []];
  keep(target, "[id]");
});
function keep(target, which) {
  opened.push(...[...target.querySelectorAll(`details[open]${which}`)].map((one) => one.id));
  const has = document.activeElement;
  if (target.contains(has)) {
    then.push(...[has.id, has.dataset.then, target.id].filter(Boolean));
  }
}

document.addEventListener("htmx:afterSettle", (event) => {
  for (const id of opened.splice(0)) {
    document.getElementById(id)?.setAttribute("open", "");
  }
  for (const id of then.splice(0)) {
    if (document.activeElement === document.body) {
      document.getElementById(id)?.focus();
    }
  }
  ready(event.target.parentElement || document);
});
document.addEventListener("DOMContentLoaded", () => ready(document));
window.addEventListener("resize", () => scrollable(document));
setInterval(() => exact(document), 30000);

function ready(within) {
  exact(within);
  scrollable(within);
  tellNews(within);
}

// A button that began something says so, and clears what asked for it; a refusal says why.
document.addEventListener("htmx:afterRequest", (event) => {
  const { xhr, requestConfig } = event.detail;
  if (requestConfig.verb === "get" || !(xhr.getResponseHeader("content-type") || "").includes("json")) {
    return;
  }
  const reply = JSON.parse(xhr.responseText);
  if (xhr.status >= 400) {
    tell("warn", [reply.detail, reply.hint].filter(Boolean).join(". "));
  } else {
    tell("done", reply.kind ? `${reply.kind}: begun` : reply.batch ? `batch ${reply.batch}: ${reply.said}` : reply.said || "");
    after(event.detail.elt.dataset);
  }
});

// What an act names in data-renews takes the place of the element in data-then; data-reloads shows the page anew.
function after({ renews, then, reloads }) {
  if (renews) {
    htmx.ajax("GET", renews, { target: `#${then || "health"}`, swap: "outerHTML" });
  } else if (reloads !== undefined) {
    setTimeout(() => location.reload(), 800);
  }
}

// What is sent to a command is JSON.
htmx.defineExtension("json", {
  onEvent: (name, event) => name !== "htmx:configRequest" || (event.detail.headers["Content-Type"] = "application/json"),
  encodeParameters: (_xhr, values) => JSON.stringify(Object.fromEntries(values)),
});

document.addEventListener("htmx:sendError", (event) => {
  if (event.detail.requestConfig.verb !== "get") {
    tell("warn", "The page's server did not answer: look whether it was done before you press again.");
  }
  look();
});
document.addEventListener("htmx:responseError", look);
// Whether the server is there is told once, when it goes and when it comes back; it may have another token then.
const away = document.getElementById("away");
setInterval(() => document.visibilityState === "visible" && look(), LOOK_MS);

async function look() {
  const found = await fetch("/static/README.md", { cache: "no-store" }).catch(() => null);
  const said = found?.ok ? "" : found ? ANEW : AWAY;
  if (said === away.textContent) {
    return;
  }
  if (!said) {
    tell("done", "The page's server is there again.");
  }
  away.textContent = said;
}

let quiet;
function tell(kind, text) {
  clearTimeout(quiet);
  document.getElementById("told").replaceChildren(...(text ? [line(kind, text)] : []));
  if (kind === "done") {
    quiet = setTimeout(() => document.getElementById("told").replaceChildren(), TOLD_MS);
  }
}

// What is under way is told to a screen reader where it says something new, not with each second.
const news = new Set();
function tellNews(within) {
  const found = [...within.querySelectorAll("[data-told]")].filter((one) => !news.has(one.dataset.news + one.dataset.told));
  found.forEach((one) => news.add(one.dataset.news + one.dataset.told));
  if (found.length && within !== document) {
    document.getElementById("heard").textContent = found.map((one) => one.dataset.told).join("; ");
  }
}

// What is wide scrolls by keys.
function scrollable(within) {
  for (const wide of within.querySelectorAll(".wide, pre")) {
    if (wide.scrollWidth > wide.clientWidth || wide.scrollHeight > wide.clientHeight) {
      wide.tabIndex = 0;
      wide.setAttribute("role", "group");
      wide.setAttribute("aria-label", "scrolls");
    } else {
      ["tabindex", "role", "aria-label"].forEach((name) => wide.removeAttribute(name));
    }
  }
}

function exact(within) {
  for (const one of within.querySelectorAll("time[datetime]")) {
    const at = new Date(one.dateTime);
    const said = ago((Date.now() - at) / 1000);
    if (one.textContent !== said) {
      one.title = `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
      one.textContent = said;
    }
  }
}

function ago(seconds) {
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const [unit, size] = units.find(([, many]) => Math.abs(seconds) >= many) || units[3];
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(-Math.round(seconds / size), unit);
}

function line(kind, text) {
  const p = document.createElement("p");
  p.className = kind;
  p.textContent = text;
  return p;
}

function shown(reply) {
  const saved = line("done", " is saved, ");
  const name = document.createElement("a");
  name.href = `/row?task=experts&key=${encodeURIComponent(reply.username)}`;
  name.textContent = reply.username;
  saved.prepend(name);
  saved.append(`score ${reply.findability_score}`);
  const found = [saved];
  if (reply.tags) {
    const tags = document.createElement("p");
    for (const tag of reply.tags) {
      const one = document.createElement("span");
      one.className = "chip";
      one.textContent = tag;
      tags.append(one);
    }
    found.push(tags);
  } else if (reply.retrying) {
    found.push(line("warn", "Saved without tags: the service did not answer. It is asked again in the background."));
  } else if (!reply.notes.length) {
    found.push(line("soft", "Without a bio there is nothing to ask."));
  }
  return [...found, ...reply.notes.map((one) => line("soft", one))];
}

async function post(form) {
  const values = {};
  for (const [name, value] of new FormData(form)) {
    if (value !== "") {
      values[name] = value;
    }
  }
  const reply = await fetch(form.dataset.post, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(values),
  });
  const found = await reply.json();
  if (!reply.ok) {
    form.elements[found.field]?.focus();
    return [line("warn", found.detail), line("soft", found.hint || "Nothing was saved.")];
  }
  form.reset();
  return shown(found);
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.post) {
    return;
  }
  event.preventDefault();
  const busy = form.querySelector(".busy");
  const told = document.getElementById("added");
  if (busy.textContent) {
    return;
  }
  busy.textContent = form.dataset.busy;
  form.setAttribute("aria-busy", "true");
  told.replaceChildren();
  try {
    told.replaceChildren(...(await post(form)));
  } catch {
    told.replaceChildren(line("warn", "The page's server cannot be reached; look at the list before adding again."));
    look();
  }
  busy.textContent = "";
  form.removeAttribute("aria-busy");
});

// Rows that are chosen: how many, and what can be done with them; asking again says what it costs first.
document.addEventListener("change", ({ target }) => {
  const form = target.closest?.("form[data-chooses]");
  if (!form) {
    return;
  }
  if ("every" in target.dataset) {
    form.querySelectorAll("input[name=id]").forEach((one) => (one.checked = target.checked));
  }
  const many = chosen(form).length;
  const bar = form.querySelector(".chosen");
  bar.hidden = !many;
  bar.querySelector(".num").textContent = `${many} chosen`;
});

const chosen = (form) => new FormData(form).getAll("id");

document.addEventListener("click", async ({ target }) => {
  const act = target.dataset?.act;
  const form = target.closest?.("form[data-chooses]");
  if (!act || !form) {
    return;
  }
  const ids = chosen(form);
  const task = encodeURIComponent(form.dataset.chooses);
  if (act === "export") {
    location.assign(`/items.csv?task=${task}&${new URLSearchParams(ids.map((id) => ["id", id]))}`);
    return;
  }
  const at = `/api/tasks/${task}/items`;
  if (act === "ask") {
    const { cost } = await sent(`${at}/cost`, { ids });
    const told = cost ? `about $${cost.toPrecision(2)}` : "free here";
    if (!confirm(`Ask about ${ids.length} again, ${told}? What was answered counts no more.`)) {
      return;
    }
  }
  const reply = await sent(`${at}/${act}`, { ids });
  tell(reply.detail ? "warn" : "done", [reply.detail || reply.said || "begun", reply.hint].filter(Boolean).join(". "));
});

async function sent(address, body) {
  const reply = await fetch(address, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  return reply.json();
}
