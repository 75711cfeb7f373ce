"use strict";
// A file that is dropped, or chosen, is sent as it is; then the address is the one that shows what would go in.

const drop = document.getElementById("drop");
const chooser = drop.querySelector("input[type=file]");
const sending = drop.querySelector(".sending");

for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
  });
}
document.addEventListener("drop", (event) => send(event.dataTransfer.files[0]));
chooser.addEventListener("change", () => send(chooser.files[0]));
drop.addEventListener("submit", (event) => event.preventDefault());

function send(file) {
  if (!file || !sending.hidden) {
    return;
  }
  if (file.size > Number(drop.dataset.most)) {
    tell("warn", `${file.name} is longer than 1 GB; nothing was sent.`);
    return;
  }
  const { task, map, encoding, header } = drop.elements;
  const asked = new URLSearchParams({
    task: task.value,
    name: file.name,
    map: map.value,
    encoding: encoding.value,
    header: header.value,
  });
  const request = new XMLHttpRequest();
  request.open("POST", `/api/imports?${asked}`);
  request.setRequestHeader("content-type", "application/octet-stream");
  request.upload.addEventListener("progress", (event) => {
    sending.querySelector("progress").value = event.loaded / event.total;
    sending.querySelector("span").textContent = `${Math.floor((100 * event.loaded) / event.total)} % sent`;
  });
  request.addEventListener("load", () => {
    const reply = JSON.parse(request.responseText);
    if (request.status === 202) {
      location.assign(`/add?${new URLSearchParams({ task: reply.task, number: reply.number })}`);
    } else {
      over([reply.detail, reply.hint].filter(Boolean).join(". "));
    }
  });
  request.addEventListener("error", () => over("The page's server cannot be reached; nothing of the file was kept."));
  sending.hidden = false;
  request.send(file);
}

function over(said) {
  sending.hidden = true;
  chooser.value = "";
  tell("warn", said);
}

// A file that was given up is no longer shown.
document.addEventListener("htmx:afterRequest", (event) => {
  const { xhr, elt } = event.detail;
  if (xhr.status === 204 && elt.dataset.then) {
    location.assign(elt.dataset.then);
  }
});
