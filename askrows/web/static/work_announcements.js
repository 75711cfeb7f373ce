// @ts-check
// Screen readers announce background work when its data-told changes, not with each update.

const announcedKeys = new Set();

export function announceWork(root) {
  const messages = [];
  for (const element of root.querySelectorAll("[data-told]")) {
    const message = element.dataset.told;
    const key = element.dataset.news + message;
    if (!announcedKeys.has(key)) {
      messages.push([key, message]);
    }
  }
  messages.forEach(([key]) => announcedKeys.add(key));
  // A reader reads the whole page when it opens.
  if (messages.length && root !== document) {
    const texts = messages.map(([, message]) => message);
    document.getElementById("heard").textContent = texts.join("; ");
  }
}
