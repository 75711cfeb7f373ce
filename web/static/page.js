"use strict";
// What htmx does not do: "/" goes to the search, and the form that adds a person shows what came of it.

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
