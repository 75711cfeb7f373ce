// @ts-check
// Connection: a message is shown while the server does not answer, or if it was started again and
// has another token.

import { find, listenToHtmx } from "./dom.js";
import { showNotice } from "./notices.js";

// Checks whether the server answers.
const SERVER_CHECK_MS = 5000;
const SERVER_AWAY_MESSAGE =
  "The page's server does not answer. Stored data and typed text are kept. " +
  "The page continues when the server is back.";
const SERVER_RESTARTED_MESSAGE =
  "The page's server was started again. Open its new address in this browser. " +
  "Typed text is kept.";

listenToHtmx("error", (context) => {
  if (context && context.request.method !== "GET") {
    showNotice(
      "warn",
      "The page's server did not answer. Check whether the command ran before you press again.",
    );
  }
  checkServer();
});
listenToHtmx("response:error", checkServer);
setInterval(() => {
  if (document.visibilityState === "visible") {
    checkServer();
  }
}, SERVER_CHECK_MS);

async function checkServer() {
  const away = find("#away");
  const message = await connectionMessage();
  if (message === away.textContent) {
    return;
  }
  if (!message) {
    showNotice("done", "The page's server is back.");
  }
  away.textContent = message;
}

async function connectionMessage() {
  const response = await fetch("/static/README.md", { cache: "no-store" }).catch(() => null);
  if (!response) {
    return SERVER_AWAY_MESSAGE;
  }
  return response.ok ? "" : SERVER_RESTARTED_MESSAGE;
}
