// @ts-check
// A range is a filter.

document.addEventListener("submit", (event) => {
  const { column, list } = event.target.dataset;
  if (column) {
    event.preventDefault();
    const limits = [...event.target.querySelectorAll("input")].map(({ value }) => value);
    if (limits.every(Boolean)) {
      limits.sort((first, second) => first - second);
    }
    const [low, high] = limits;
    const bounds = [low && `${column} >= ${low}`, high && `${column} <= ${high}`].filter(Boolean);
    location.assign(`${list}&only=${encodeURIComponent(bounds.join(" AND "))}`);
  }
});
