// @ts-check
// The name of the person who corrects is asked when the first correction is saved.

let editorName = "";

document.addEventListener("htmx:confirm", (event) => {
  const { elt: element, issueRequest } = event.detail;
  const isKnown = editorName || document.querySelector("#who-name[data-known]");
  if (element.matches("[data-named]") && !isKnown) {
    event.preventDefault();
    askName(() => issueRequest(true));
  }
});
document.addEventListener("htmx:configRequest", (event) => {
  if (editorName && event.detail.elt.matches("[data-named]")) {
    event.detail.parameters.who = editorName;
  }
});
document.addEventListener("click", ({ target }) => {
  if ("rename" in target.dataset) {
    askName(() => {
      target.textContent = `Your name: ${editorName} (change)`;
    });
  }
});

function askName(continueNamed) {
  const dialog = document.getElementById("who");
  dialog.returnValue = "";
  dialog.onclose = () => {
    const name = dialog.querySelector("input").value.trim();
    if (dialog.returnValue && name) {
      editorName = name;
      continueNamed();
    } else {
      document.querySelector("form.cell")?.reset();
    }
  };
  dialog.showModal();
}
