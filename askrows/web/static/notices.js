// @ts-check
// Notices: messages at the edge of the page.

import { find } from "./dom.js";

// A notice of success disappears after this time.
const NOTICE_MS = 8000;

/** @type {number} */
let noticeTimer;

/**
 * Show one message; "done" disappears by itself, "warn" stays.
 *
 * @param {"done" | "sending" | "warn"} kind
 * @param {string} text
 */
export function showNotice(kind, text) {
  const notice = find("#told");
  clearTimeout(noticeTimer);
  notice.replaceChildren();
  if (text) {
    notice.append(createLine(kind, text));
  }
  if (kind === "done") {
    noticeTimer = setTimeout(() => notice.replaceChildren(), NOTICE_MS);
  }
}

/**
 * @param {string} className
 * @param {string} text
 */
export function createLine(className, text) {
  const paragraph = document.createElement("p");
  paragraph.className = className;
  paragraph.textContent = text;
  return paragraph;
}

/**
 * @param {string} message
 * @param {string} hint
 */
export function joinSentences(message, hint) {
  return hint ? `${message}. ${hint}` : message;
}
