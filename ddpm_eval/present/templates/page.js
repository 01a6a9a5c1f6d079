"use strict";
// Enlarge a picture: click or Enter opens, click or Escape closes.
const view = document.createElement("dialog");
view.setAttribute("aria-label", "Enlarged picture");
document.body.append(view);
view.addEventListener("click", () => view.close());

function enlarge(picture) {
  const copy = picture.cloneNode();
  const room = Math.min(
    (0.96 * innerWidth) / picture.naturalWidth,
    (0.94 * innerHeight) / picture.naturalHeight,
  );
  // whole multiples keep the pixels of an image square
  const scale = picture.classList.contains("images") && room > 1 ? Math.floor(room) : room;
  copy.style.width = Math.round(scale * picture.naturalWidth) + "px";
  copy.style.height = Math.round(scale * picture.naturalHeight) + "px";
  const close = document.createElement("button");
  close.textContent = "Close (Esc)";
  view.replaceChildren(copy, close);
  view.showModal();
}

for (const picture of document.querySelectorAll("figure img")) {
  const button = document.createElement("button");
  button.className = "zoom";
  button.setAttribute("aria-label", "Enlarge: " + picture.alt);
  button.addEventListener("click", () => enlarge(picture));
  picture.replaceWith(button);
  button.append(picture);
}
