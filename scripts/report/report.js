// SPDX-License-Identifier: Apache-2.0
"use strict";

// Switch between the last two images shown, in the same place.
const compare = document.getElementById("compare");
const choices = [...compare.querySelectorAll("[data-show]")];
const play = document.getElementById("play");
const announcement = document.getElementById("shown");
let previous = "before";
let timer = null;

function show(image) {
  const shown = compare.dataset.shown;
  if (image === shown) return;
  previous = shown;
  compare.dataset.shown = image;
  for (const choice of choices) choice.setAttribute("aria-pressed", String(choice.dataset.show === image));
  for (const name of compare.querySelectorAll(".name")) name.textContent = image;
  if (timer === null) announcement.textContent = `showing ${image}`;
}

function stop() {
  clearInterval(timer);
  timer = null;
  play.setAttribute("aria-pressed", "false");
  play.textContent = "Play";
}

for (const choice of choices) choice.addEventListener("click", () => show(choice.dataset.show));
for (const frame of compare.querySelectorAll("button.frame")) {
  frame.addEventListener("click", () => {
    stop();
    show(previous);
  });
}

play.addEventListener("click", () => {
  if (timer !== null) return stop();
  // Below three changes a second, the limit for photosensitive readers (WCAG 2.3.1).
  timer = setInterval(() => show(previous), 700);
  play.setAttribute("aria-pressed", "true");
  play.textContent = "Stop";
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (["1", "2", "3"].includes(event.key)) show(choices[Number(event.key) - 1].dataset.show);
  if (event.key === "f") {
    stop();
    show(previous);
  }
});

// Copy buttons. Where a page from the disk may not use the clipboard, the text is selected instead.
for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "Selected: press Ctrl+C";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}
