// @ts-check
// Notices

// A notice of success disappears after this time.
const NOTICE_MS = 8000;

let noticeTimer;

// Show one message at the edge of the page; "done" disappears by itself, "warn" stays.
export function showNotice(kind, text) {
  const notice = document.getElementById("told");
  clearTimeout(noticeTimer);
  notice.replaceChildren();
  if (text) {
    notice.append(createLine(kind, text));
  }
  if (kind === "done") {
    noticeTimer = setTimeout(() => notice.replaceChildren(), NOTICE_MS);
  }
}

function createLine(className, text) {
  const paragraph = document.createElement("p");
  paragraph.className = className;
  paragraph.textContent = text;
  return paragraph;
}

export function joinSentences(message, hint) {
  return hint ? `${message}. ${hint}` : message;
}
