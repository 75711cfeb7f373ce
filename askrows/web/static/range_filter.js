// @ts-check
// A range of numbers is a filter.

import { findAll, listen } from "./dom.js";

listen("submit", (target, event) => {
  const { column, list } = target.dataset;
  if (!column) {
    return;
  }
  event.preventDefault();
  const limits = findAll("input", target).map(({ value }) => value);
  if (limits.every(Boolean)) {
    limits.sort((first, second) => first - second);
  }
  const [low, high] = limits;
  const bounds = [low && `${column} >= ${low}`, high && `${column} <= ${high}`].filter(Boolean);
  location.assign(`${list}&only=${encodeURIComponent(bounds.join(" AND "))}`);
});
