// @ts-check
// The name of the person who corrects is asked when the first correction is saved.

import { find, listen, listenToHtmx } from "./dom.js";

let editorName = "";

listenToHtmx("config:request", (context) => {
  const isKnown = editorName || find("#who-name[data-known]");
  if (isNamed(context) && !isKnown) {
    context.confirm = "name";
  }
});
listenToHtmx("confirm", (context, event) => {
  const { issueRequest, dropRequest } = event.detail;
  if (isNamed(context)) {
    event.preventDefault();
    askName(issueRequest, dropRequest);
  }
});
listenToHtmx("before:request", (context) => {
  if (editorName && isNamed(context)) {
    context.request.body.set("who", editorName);
  }
});
listen("click", (target) => {
  if ("rename" in target.dataset) {
    askName(() => {
      target.textContent = `Your name: ${editorName} (change)`;
    });
  }
});

/** @param {import("./dom.js").RequestContext} context */
function isNamed({ sourceElement }) {
  return sourceElement.matches("[data-named]");
}

/**
 * @param {() => void} continueNamed
 * @param {() => void} [continueUnnamed]
 */
function askName(continueNamed, continueUnnamed) {
  const dialog = find("#who");
  dialog.returnValue = "";
  const readName = () => {
    const name = find("input", dialog).value.trim();
    if (dialog.returnValue && name) {
      editorName = name;
      continueNamed();
    } else {
      find("form.cell")?.reset();
      continueUnnamed?.();
    }
  };
  dialog.addEventListener("close", readName, { once: true });
  dialog.showModal();
}
