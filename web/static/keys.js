"use strict";
// Keys of lists and judging: j, k and the arrows go through what has data-hit, a key presses what has it as data-key.

document.addEventListener("keydown", (event) => {
  if (isTyping(event)) {
    return;
  }
  const button = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (button) {
    event.preventDefault();
    if (!event.repeat) {
      button.click();
    }
    return;
  }
  const step = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1, ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const hits = [...document.querySelectorAll("[data-hit]")];
  if (!step || !hits.length || (event.key.startsWith("Arrow") && !hits.includes(event.target))) {
    return;
  }
  event.preventDefault();
  const open = document.querySelector("[popover]:popover-open");
  const now = hits.findIndex((one) => one === event.target || (open && one.popoverTargetElement === open));
  const next = hits[Math.min(Math.max(now + step, 0), hits.length - 1)];
  next.focus();
  if (open && next.popoverTargetElement && next.popoverTargetElement !== open) {
    next.popoverTargetElement.showPopover();
  }
});
