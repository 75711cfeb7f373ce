"use strict";
// Keys of lists: j, k and the arrows go through what has data-hit.

document.addEventListener("keydown", (event) => {
  const step = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1, ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const hits = [...document.querySelectorAll("[data-hit]")];
  if (isTyping(event) || !step || !hits.length || (event.key.startsWith("Arrow") && !hits.includes(event.target))) {
    return;
  }
  event.preventDefault();
  hits[Math.min(Math.max(hits.indexOf(event.target) + step, 0), hits.length - 1)].focus();
});
