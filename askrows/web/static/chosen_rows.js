// @ts-check
// Chosen rows: a bar shows their number and the actions. Asking again shows the cost first.

import { find, findAll, listen, listenToHtmx } from "./dom.js";
import { joinSentences, post, showNotice } from "./notices.js";

const FORM = "form[data-chooses]";

/** @param {HTMLFormElement} form */
function chosenIds(form) {
  return new FormData(form).getAll("id").map(String);
}

listen("change", (target) => {
  const form = target.closest(FORM);
  if (!form) {
    return;
  }
  if ("every" in target.dataset) {
    findAll("input[name=id]", form).forEach((checkbox) => {
      checkbox.checked = target.checked;
    });
  }
  showChosenCount(form);
});
listenToHtmx("after:settle", () => {
  const form = find(FORM);
  if (form) {
    showChosenCount(form);
  }
});

/** @param {HTMLFormElement} form */
function showChosenCount(form) {
  const chosenCount = chosenIds(form).length;
  const bar = find(".chosen", form);
  if (!bar) {
    return;
  }
  bar.hidden = !chosenCount;
  find(".num", bar).textContent = `${chosenCount} chosen`;
  const every = find("[data-every]", form);
  if (every) {
    every.checked &&= chosenCount === findAll("input[name=id]", form).length;
  }
}

listen("click", async (target) => {
  const { act: action } = target.dataset;
  const form = target.closest(FORM);
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
  const body = JSON.stringify({ ids });
  let reply = action === "ask" ? await post(`${path}/cost`, body) : {};
  // Without a cost there is nothing to confirm: asking says why.
  if (typeof reply.cost === "number" && !confirm(reply.question)) {
    return;
  }
  if (!reply.detail) {
    reply = await post(`${path}/${action}`, body);
  }
  if (!reply.detail) {
    form.reset();
    showChosenCount(form);
  }
  const message = joinSentences(reply.detail || reply.said || "Started", reply.hint);
  showNotice(reply.detail ? "warn" : "done", message);
});
