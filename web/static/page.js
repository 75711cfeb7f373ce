"use strict";
// What htmx does not do: "/" goes to the search, what was begun is told, times are relative, and the form that adds a
// person shows what came of it.

document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    document.querySelector("header .find input[name=q]").focus();
  }
});

function csrf() {
  return JSON.parse(document.body.getAttribute("hx-headers"))["x-csrf-token"];
}

// Parts that are asked for again and again take their place only where they say something new: no focus is lost.
const last = new Map();
document.addEventListener("htmx:beforeSwap", (event) => {
  const { target, xhr } = event.detail;
  if (target && "quiet" in target.dataset) {
    event.detail.shouldSwap = event.detail.shouldSwap && last.get(target.id) !== xhr.responseText;
    last.set(target.id, xhr.responseText);
  }
});
document.addEventListener("htmx:afterSwap", (event) => exact(event.detail.target));
document.addEventListener("DOMContentLoaded", () => exact(document));

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
    tell("done", reply.kind ? `${reply.kind}: begun` : reply.said || (reply.rolled_back ? `build ${reply.number} is in service again` : ""));
  }
});
document.addEventListener("htmx:sendError", () => tell("warn", "The page's server cannot be reached; nothing was begun."));
document.addEventListener("click", (event) => {
  const clears = event.target.dataset && event.target.dataset.clears;
  if (clears) {
    setTimeout(() => document.querySelector(clears).replaceChildren(), event.target.hasAttribute("hx-post") ? 300 : 0);
  }
});

function tell(kind, text) {
  const told = document.getElementById("told");
  told.replaceChildren(line(kind, text));
}

function exact(within) {
  for (const one of within.querySelectorAll("time[datetime]:not([title])")) {
    one.title = one.getAttribute("datetime");
    one.textContent = ago((Date.now() - Date.parse(one.title)) / 1000);
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
  const found = [line("done", `${reply.username} is saved, score ${reply.findability_score}`)];
  if (reply.tags) {
    const tags = document.createElement("p");
    for (const tag of reply.tags) {
      const one = document.createElement("span");
      one.className = "tag";
      one.textContent = tag;
      tags.append(one);
    }
    found.push(tags);
  } else if (reply.retrying) {
    found.push(line("warn", "Saved without tags: the service did not answer. It is asked again in the background."));
  } else {
    found.push(line("empty", "Without a bio there is nothing to ask."));
  }
  return found;
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
    headers: { "content-type": "application/json", "x-csrf-token": csrf() },
    body: JSON.stringify(values),
  });
  const found = await reply.json();
  if (!reply.ok) {
    return [line("warn", found.detail), line("empty", found.hint || "Nothing was saved.")];
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
  const button = form.querySelector("button");
  const told = document.getElementById("added");
  busy.hidden = false;
  button.disabled = true;
  told.replaceChildren();
  try {
    told.replaceChildren(...(await post(form)));
  } catch {
    told.replaceChildren(line("warn", "The page's server cannot be reached; look at the list before adding again."));
  }
  busy.hidden = true;
  button.disabled = false;
});
