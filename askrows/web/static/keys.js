"use strict";
// Keys of lists: j and k move the focus between the elements with data-hit.

const STEP_BY_KEY = { j: 1, k: -1 };

document.addEventListener("keydown", (event) => {
  const step = STEP_BY_KEY[event.key];
  const hits = [...document.querySelectorAll("[data-hit]")];
  if (isTyping(event) || !step || !hits.length) {
    return;
  }
  event.preventDefault();
  const nextIndex = hits.indexOf(event.target) + step;
  hits[Math.min(Math.max(nextIndex, 0), hits.length - 1)].focus();
});
