"use strict";
// Upload of a file that is dropped or chosen. Afterwards the page shows what an import would do.

const HTTP_ACCEPTED = 202;
const HTTP_NO_CONTENT = 204;

const uploadForm = document.getElementById("drop");
const fileInput = uploadForm.querySelector("input[type=file]");
const progressLine = uploadForm.querySelector(".sending");

for (const eventName of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(eventName, (event) => {
    event.preventDefault();
    uploadForm.classList.toggle("over", eventName === "dragover");
  });
}
document.addEventListener("drop", (event) => uploadFile(event.dataTransfer.files[0]));
fileInput.addEventListener("change", () => uploadFile(fileInput.files[0]));
uploadForm.addEventListener("submit", (event) => event.preventDefault());

function uploadFile(file) {
  const isUploading = !progressLine.hidden;
  if (!file || isUploading) {
    return;
  }
  if (file.size > Number(uploadForm.dataset.most)) {
    showNotice("warn", `${file.name} is larger than 1 GB; nothing was sent.`);
    return;
  }
  // XMLHttpRequest reports the progress of an upload; fetch does not.
  const request = new XMLHttpRequest();
  request.open("POST", `/api/imports?${uploadParameters(file)}`);
  request.setRequestHeader("content-type", "application/octet-stream");
  request.upload.addEventListener("progress", showProgress);
  request.addEventListener("load", () => openUpload(request));
  request.addEventListener("error", () =>
    endUpload("The page's server cannot be reached. The file was not stored."),
  );
  progressLine.hidden = false;
  request.send(file);
}

function uploadParameters(file) {
  const { task, map, encoding, header } = uploadForm.elements;
  return new URLSearchParams({
    task: task.value,
    name: file.name,
    map: map.value,
    encoding: encoding.value,
    header: header.value,
  });
}

function showProgress(event) {
  const percent = Math.floor((100 * event.loaded) / event.total);
  progressLine.querySelector("progress").value = event.loaded / event.total;
  progressLine.querySelector("span").textContent = `${percent} % sent`;
}

function openUpload(request) {
  const reply = JSON.parse(request.responseText);
  if (request.status === HTTP_ACCEPTED) {
    location.assign(`/add?${new URLSearchParams({ task: reply.task, number: reply.number })}`);
  } else {
    endUpload(joinSentences(reply.detail, reply.hint));
  }
}

function endUpload(message) {
  progressLine.hidden = true;
  fileInput.value = "";
  showNotice("warn", message);
}

// A discarded upload leads to the page that data-then names.
document.addEventListener("htmx:afterRequest", (event) => {
  const { xhr, elt: element } = event.detail;
  if (xhr.status === HTTP_NO_CONTENT && element.dataset.then) {
    location.assign(element.dataset.then);
  }
});

// Cells of a column that is not sent are grey; its header says so.
document.addEventListener("change", ({ target }) => {
  if (!("role" in target.dataset)) {
    return;
  }
  const { cellIndex } = target.closest("th");
  for (const row of target.closest("table").rows) {
    row.cells[cellIndex].classList.toggle("unsent", target.value === "unsent");
  }
});
