// @ts-check
// Relative times

const CLOCK_MS = 30000;
const TIME_UNITS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

setInterval(() => updateTimes(document), CLOCK_MS);

// Write times relative to now; the exact time is in the title.
export function updateTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const time = new Date(element.dateTime);
    const text = formatAge((Date.now() - time) / 1000);
    if (element.textContent !== text) {
      element.title = `${time.toISOString().slice(0, 19).replace("T", " ")} UTC`;
      element.textContent = text;
    }
  }
}

function formatAge(ageSeconds) {
  const fittingUnit = TIME_UNITS.find(([, seconds]) => Math.abs(ageSeconds) >= seconds);
  const [unit, unitSeconds] = fittingUnit || ["second", 1];
  const format = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  return format.format(-Math.round(ageSeconds / unitSeconds), unit);
}
