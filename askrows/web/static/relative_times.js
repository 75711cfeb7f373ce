// @ts-check
// Times are written relative to now; the exact time is in the title.

import { findAll } from "./dom.js";

// Relative times are updated.
const CLOCK_MS = 30000;
/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const TIME_UNITS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

setInterval(() => updateTimes(document), CLOCK_MS);

/** @param {ParentNode} root */
export function updateTimes(root) {
  for (const element of findAll("time[datetime]", root)) {
    const time = new Date(element.dateTime);
    const text = formatAge((Date.now() - time.getTime()) / 1000);
    if (element.textContent !== text) {
      element.title = `${time.toISOString().slice(0, 19).replace("T", " ")} UTC`;
      element.textContent = text;
    }
  }
}

/** @param {number} ageSeconds */
function formatAge(ageSeconds) {
  const fittingUnit = TIME_UNITS.find(([, seconds]) => Math.abs(ageSeconds) >= seconds);
  const [unit, unitSeconds] = fittingUnit || TIME_UNITS.at(-1);
  const format = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  return format.format(-Math.round(ageSeconds / unitSeconds), unit);
}
