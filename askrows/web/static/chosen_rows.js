// @ts-check
// Chosen rows: a bar shows their number and the actions. Asking again shows the cost first.

import { joinSentences, showNotice } from "./notices.js";

// Errors then have the words of the page.
const JSON_HEADERS = { "content-type": "application/json", "hx-request": "true" };

export function chosenIds(form) {
  return new FormData(form).getAll("id");
}

// Choose the same rows again after their list was replaced.
export function restoreChosenRows(chosenRowIds) {
  const form = document.querySelector("form[data-chooses]");
  if (!form || !chosenRowIds.length) {
    return;
  }
  form.querySelectorAll("input[name=id]").forEach((checkbox) => {
    checkbox.checked = chosenRowIds.includes(checkbox.value);
  });
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
