"use strict";
// Keys of lists: j, k and the arrows go through what has data-hit.
// The address names the image that is open, so that it is open again where the address is.

document.addEventListener("keydown", (event) => {
  if (isTyping(event)) {
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

document.addEventListener("toggle", ({ target }) => target.matches("[data-opened]") && named(), true);

function named() {
  const address = new URL(location.href);
  address.searchParams.delete("open");
  const open = document.querySelector("[data-opened]:popover-open");
  if (open) {
    address.searchParams.set("open", open.dataset.opened);
  }
  history.replaceState(history.state, "", address);
}

const wanted = new URL(location.href).searchParams.get("open");
const there = wanted && document.querySelector(`[data-opened="${CSS.escape(wanted)}"]`);
if (there) {
  document.querySelector(`[popovertarget="${there.id}"]`)?.focus();
  there.showPopover();
}
