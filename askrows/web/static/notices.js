// @ts-check
// Notices: messages at the edge of the page, and requests whose errors they show.

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
  notice.replaceChildren(createLine(kind, text));
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
 * Return the sentences of an error; undefined for other replies.
 *
 * @param {{ detail?: string, hint?: string }} reply
 */
export function describeError({ detail, hint }) {
  return hint ? `${detail}. ${hint}` : detail;
}

/**
 * Post a file or JSON, and return the reply, which has `detail` if it is an error.
 *
 * @param {string} address
 * @param {File | string} body
 */
export async function post(address, body) {
  // Errors then have the words of the page.
  const headers = { "content-type": "application/json", "hx-request": "true" };
  const response = await fetch(address, { method: "POST", headers, body }).catch(() => null);
  return response ? response.json() : { detail: "The page's server cannot be reached" };
}
