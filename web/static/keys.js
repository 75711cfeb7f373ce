"use strict";
// Keys of lists: j and k move the focus between the elements with data-hit, and so do the arrow
// keys once such an element has the focus.

const STEP_BY_KEY = {
  j: 1,
  k: -1,
  ArrowDown: 1,
  ArrowUp: -1,
  ArrowRight: 1,
  ArrowLeft: -1,
};

document.addEventListener("keydown", (event) => {
  const step = STEP_BY_KEY[event.key];
  const hits = [...document.querySelectorAll("[data-hit]")];
  if (isTyping(event) || !step || !hits.length) {
    return;
  }
  const currentIndex = hits.indexOf(event.target);
  const isArrow = event.key.startsWith("Arrow");
  if (isArrow && currentIndex === -1) {
    return;
  }
  event.preventDefault();
  const nextIndex = Math.min(Math.max(currentIndex + step, 0), hits.length - 1);
  hits[nextIndex].focus();
});
