// @ts-check
// Keys of a row's page: each key presses the link or button that names it in data-key. A key that
// is pressed while a change is being saved waits for its end, and is dropped if it was refused.

import { isTyping } from "./keys.js";
import { showNotice } from "./notices.js";

let isSaving = false;
let waitingKey = "";

document.addEventListener("keydown", (event) => {
  const isOnControl = event.target.matches("button, a, summary") && event.key === "Enter";
  if (isTyping(event) || event.repeat || isOnControl || !findControl(event.key)) {
    return;
  }
  event.preventDefault();
  if (isSaving) {
    waitingKey = event.key;
    showNotice("done", `Saving. The key ${event.key} is pressed next.`);
  } else {
    pressKey(event.key);
  }
});

function findControl(key) {
  return document.querySelector(`[data-key="${CSS.escape(key)}"]`);
}

function pressKey(key) {
  const control = findControl(key);
  if (!control) {
    return;
  }
  control.focus();
  control.click();
}

document.addEventListener("htmx:beforeRequest", (event) => {
  isSaving = isSaving || event.detail.requestConfig.verb === "post";
});

document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.requestConfig.verb !== "post") {
    return;
  }
  const key = waitingKey;
  waitingKey = "";
  isSaving = false;
  if (key && !document.querySelector("#one [role=alert]")) {
    pressKey(key);
  }
});
