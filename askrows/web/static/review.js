// @ts-check
// Keys of a row's page: each key presses the link or button that has it in data-key, and belongs to
// the row that is shown when it is pressed. Keys that are pressed while a change is being saved
// wait for its end, and are dropped if it was refused. After a key that leads to another row, keys
// are ignored until that row is shown.

import { find, listen, listenToHtmx } from "./dom.js";
import { isTyping } from "./keys.js";
import { showNotice } from "./notices.js";

const LEADING_KEYS = ["j", "k", "r"];
const FIRST_ERROR_STATUS = 400;

let isSaving = false;
let isLeaving = false;
/** @type {string[]} */
let waitingKeys = [];

listen("keydown", (target, event) => {
  const isOnControl = target.matches("button, a, summary") && event.key === "Enter";
  if (isTyping(event) || event.repeat || isOnControl || !findControl(event.key)) {
    return;
  }
  event.preventDefault();
  if (isLeaving || waitingKeys.some((key) => LEADING_KEYS.includes(key))) {
    return;
  }
  waitingKeys.push(event.key);
  if (isSaving) {
    showNotice("done", `Saving. Pressed next: ${waitingKeys.join(", ")}.`);
  } else {
    pressWaitingKeys();
  }
});

/** @param {string} key */
function findControl(key) {
  return find(`[data-key~="${CSS.escape(key)}"]`);
}

function pressWaitingKeys() {
  if (isSaving || isLeaving || !waitingKeys.length) {
    return;
  }
  const control = findControl(waitingKeys.shift());
  if (control) {
    isLeaving = control.matches("a");
    control.focus();
    control.click();
  }
  pressWaitingKeys();
}

listenToHtmx("before:request", ({ request }) => {
  if (request.method === "POST") {
    isSaving = true;
    // Some commands send JSON instead of a form.
    isLeaving = typeof request.body === "object" && request.body?.get("act") === "review";
  }
});

listenToHtmx("finally:request", ({ request, response }) => {
  if (request.method !== "POST") {
    return;
  }
  isSaving = false;
  isLeaving = Boolean(response?.headers.get("hx-redirect"));
  const isSaved = response?.status < FIRST_ERROR_STATUS && !find("#one [role=alert]");
  if (isSaved) {
    pressWaitingKeys();
  } else if (waitingKeys.length) {
    const dropped = `Not pressed, because the change before was not saved: ${waitingKeys.join(", ")}.`;
    waitingKeys = [];
    // The other scripts say first why it was refused.
    setTimeout(() => {
      const reason = find("#told .warn")?.textContent || "";
      showNotice("warn", `${reason} ${dropped}`.trim());
    });
  }
});

// A page that the browser shows again has not been left.
window.addEventListener("pageshow", () => {
  isLeaving = false;
});
