// @ts-check
// Keys of a row's page: each key presses the link or button that names it in data-key. A key that
// is pressed while a change is being saved waits for its end, and is dropped if it was refused.

import { find, listen, listenToHtmx } from "./dom.js";
import { isTyping } from "./keys.js";
import { showNotice } from "./notices.js";

let isSaving = false;
let waitingKey = "";

listen("keydown", (target, event) => {
  const isOnControl = target.matches("button, a, summary") && event.key === "Enter";
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

/** @param {string} key */
function findControl(key) {
  return find(`[data-key="${CSS.escape(key)}"]`);
}

/** @param {string} key */
function pressKey(key) {
  const control = findControl(key);
  if (!control) {
    return;
  }
  control.focus();
  control.click();
}

listenToHtmx("before:request", ({ request }) => {
  isSaving ||= request.method === "POST";
});

listenToHtmx("finally:request", ({ request }) => {
  if (request.method !== "POST") {
    return;
  }
  const key = waitingKey;
  waitingKey = "";
  isSaving = false;
  if (key && !find("#one [role=alert]")) {
    pressKey(key);
  }
});
