// @ts-check
// Upload of a file that is dropped on a page or chosen, and the form of a new task.

import { find, findAll, listen, listenToHtmx } from "./dom.js";
import { createLine, describeError, post, showNotice } from "./notices.js";
import "./page.js";

const HTTP_NO_CONTENT = 204;
const MAX_FILE_BYTES = 2 ** 30;

let isUploading = false;

for (const eventName of ["dragover", "dragleave", "drop"]) {
  listen(eventName, (_target, event) => {
    if (event.dataTransfer.types.includes("Files")) {
      event.preventDefault();
      document.body.classList.toggle("over", eventName === "dragover");
    }
  });
}
listen("drop", (_target, { dataTransfer }) => uploadFile(dataTransfer.files[0]));
find("#sample")?.addEventListener("click", async (event) => {
  event.preventDefault();
  const response = await fetch(event.target.href);
  uploadFile(new File([await response.blob()], "reviews.csv"));
});

async function uploadFile(file) {
  if (!file || isUploading) {
    return;
  }
  if (file.size > MAX_FILE_BYTES) {
    showNotice("warn", `${file.name} is larger than 1 GB; nothing was sent.`);
    return;
  }
  isUploading = true;
  showNotice("sending", `Sending ${file.name} …`);
  const parameters = new URLSearchParams({ task: document.body.dataset.drop, name: file.name });
  const reply = await post(`/api/imports?${parameters}`, file);
  if (reply.number) {
    location.assign(`/add?${new URLSearchParams({ task: reply.task, number: reply.number })}`);
  } else {
    isUploading = false;
    showNotice("warn", describeError(reply));
  }
}

// A discarded upload leads to the page that data-then names.
listenToHtmx("after:request", ({ response, sourceElement }) => {
  if (response.status === HTTP_NO_CONTENT && sourceElement.dataset.then) {
    location.assign(sourceElement.dataset.then);
  }
});

// Typed choices are shown as chips: those of several lines, or with commas on a single line.
listen("input", showChoices);
showAllChoices();

function showAllChoices() {
  findAll(".choices textarea").forEach((field) => showChoices(field));
}

/** @param {any} field */
function showChoices(field) {
  const choices = field.closest(".choices");
  const output = choices && find("output", choices);
  if (!output) {
    return;
  }
  const lines = splitText(field.value, "\n");
  const words = lines.length === 1 ? splitText(lines[0], ",") : lines;
  output.replaceChildren(...words.map((word) => createLine("chip", word)));
}

/**
 * @param {string} text
 * @param {string} separator
 */
function splitText(text, separator) {
  return text
    .split(separator)
    .map((part) => part.trim())
    .filter(Boolean);
}

// The answers of a try, and the button below them, are brought into view.
listenToHtmx("after:settle", () => {
  showAllChoices();
  find("#tried")?.scrollIntoView({ block: "nearest" });
  // On a narrow screen the answers are higher than the screen.
  find("#tried #ask")?.scrollIntoView({ block: "nearest" });
});

// The roles are changed before their table sends them.
listen("change", (target) => {
  if ("role" in target.dataset) {
    moveKey(target);
    greyUnsentColumn(target);
  } else if (target.id === "mode") {
    find("#price").textContent = target.selectedOptions[0].textContent.trim();
  } else if (target.closest("#drop")) {
    uploadFile(target.files[0]);
  }
});

// Only one column is the key.
function moveKey(roleSelect) {
  for (const other of findAll("[data-role]")) {
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
listen("input", (target) => {
  const tried = find("#tried");
  if (tried && target.form?.id === "question") {
    find("#outdated", tried).hidden = false;
    find("fieldset", tried).disabled = true;
    find("#try").classList.add("first");
  }
});
