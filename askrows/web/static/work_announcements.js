// @ts-check
// Screen readers announce background work when its data-told changes, not with each update.

import { find, findAll } from "./dom.js";

const announcedKeys = new Set();

/** @param {ParentNode} root */
export function announceWork(root) {
  const messages = [];
  for (const { dataset } of findAll("[data-told]", root)) {
    const key = dataset.news + dataset.told;
    if (!announcedKeys.has(key)) {
      messages.push(dataset.told);
    }
    announcedKeys.add(key);
  }
  // A reader reads the whole page when it opens.
  if (messages.length && root !== document) {
    find("#heard").textContent = messages.join("; ");
  }
}
