// @ts-check
// Upload of a file that is dropped on a page or chosen, and the form of a new task.

import { joinSentences, showNotice } from "./notices.js";

const HTTP_ACCEPTED = 202;
const HTTP_NO_CONTENT = 204;
const MAX_FILE_BYTES = 2 ** 30;

let isUploading = false;

for (const eventName of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(eventName, (event) => {
    if (event.dataTransfer.types.includes("Files")) {
      event.preventDefault();
      document.body.classList.toggle("over", eventName === "dragover");
    }
  });
}
document.addEventListener("drop", (event) => uploadFile(event.dataTransfer.files[0]));
document.getElementById("drop")?.addEventListener("change", ({ target }) => {
  uploadFile(target.files[0]);
});
document.getElementById("sample")?.addEventListener("click", async (event) => {
  event.preventDefault();
  const response = await fetch(event.target.href);
  uploadFile(new File([await response.blob()], "reviews.csv"));
});

function uploadFile(file) {
  if (!file || isUploading) {
    return;
  }
  if (file.size > MAX_FILE_BYTES) {
    showNotice("warn", `${file.name} is larger than 1 GB; nothing was sent.`);
    return;
  }
  const parameters = new URLSearchParams({ task: document.body.dataset.drop, name: file.name });
  // XMLHttpRequest reports the progress of an upload; fetch does not.
  const request = new XMLHttpRequest();
  request.open("POST", `/api/imports?${parameters}`);
  request.setRequestHeader("content-type", "application/octet-stream");
  request.setRequestHeader("hx-request", "true");
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    showNotice("sending", `${file.name}: ${Math.floor((100 * loaded) / total)} % sent`);
  });
  request.addEventListener("load", () => openUpload(request));
  request.addEventListener("error", () =>
    endUpload("The page's server cannot be reached. The file was not stored."),
  );
  isUploading = true;
  request.send(file);
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
  isUploading = false;
  showNotice("warn", message);
}

// A discarded upload leads to the page that data-then names.
document.addEventListener("htmx:afterRequest", (event) => {
  const { xhr, elt: element } = event.detail;
  if (xhr.status === HTTP_NO_CONTENT && element.dataset.then) {
    location.assign(element.dataset.then);
  }
});

// The answers of a try, and the button below them, are brought into view.
document.addEventListener("htmx:afterSettle", () => {
  document.getElementById("tried")?.scrollIntoView({ block: "nearest" });
});

// The roles are changed before their table sends them.
document.addEventListener(
  "change",
  ({ target }) => {
    if ("role" in target.dataset) {
      moveKey(target);
      greyUnsentColumn(target);
    } else if (target.id === "mode") {
      document.getElementById("price").textContent = target.selectedOptions[0].textContent.trim();
    }
  },
  true,
);

// Only one column is the key.
function moveKey(roleSelect) {
  for (const other of roleSelect.closest("table").querySelectorAll("[data-role]")) {
    if (other !== roleSelect && other.value === "key" && roleSelect.value === "key") {
      other.value = "unsent";
      greyUnsentColumn(other);
    }
  }
}

// Cells of a column that is not sent are grey; its header says so.
function greyUnsentColumn(roleSelect) {
  const { cellIndex } = roleSelect.closest("th");
  for (const row of roleSelect.closest("table").rows) {
    row.cells[cellIndex].classList.toggle("unsent", roleSelect.value === "unsent");
  }
}

// The answers of a try stay, but a changed question is tried again before all rows are asked.
document.addEventListener("input", ({ target }) => {
  const tried = document.getElementById("tried");
  if (tried && target.form?.id === "question") {
    tried.querySelector("#outdated").hidden = false;
    tried.querySelector("fieldset").disabled = true;
    document.getElementById("try").classList.add("first");
  }
});
