// @ts-check
// Chosen rows: a bar shows their number and the actions. Asking again shows the cost first.

import { find, findAll, listen, listenToHtmx } from "./dom.js";
import { describeError, post, showNotice } from "./notices.js";

const FORM = "form:has(> .chosen)";

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
  bar.hidden = !chosenCount;
  // Without a chosen row, Enter in the form exports nothing.
  bar.disabled = !chosenCount;
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
  const task = encodeURIComponent(form.dataset.chooses);
  const path = `/api/tasks/${task}/rows`;
  const body = JSON.stringify({ ids: chosenIds(form) });
  let reply = action === "ask" ? await post(`${path}/cost`, body) : {};
  if (reply.question && !confirm(reply.question)) {
    return;
  }
  if (!reply.detail) {
    reply = await post(`${path}/${action}`, body);
  }
  if (reply.detail) {
    showNotice("warn", describeError(reply));
    return;
  }
  form.reset();
  showChosenCount(form);
  showNotice("done", reply.said || "Started");
});
