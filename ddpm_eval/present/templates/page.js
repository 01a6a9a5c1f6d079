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

for (const picture of document.querySelectorAll("figure:not(.frames) img")) {
  const button = document.createElement("button");
  button.className = "zoom";
  button.setAttribute("aria-label", "Enlarge: " + picture.alt);
  button.addEventListener("click", () => enlarge(picture));
  picture.replaceWith(button);
  button.append(picture);
}

// Pictures in one place: the slider drags through them, space flicks to the last and back.
for (const figure of document.querySelectorAll(".frames")) {
  const slider = figure.querySelector("input");
  const button = figure.querySelector("button");
  const output = figure.querySelector("output");
  const pictures = [...figure.querySelectorAll(".stage img")];
  const stops = [...figure.querySelectorAll(".stop")];
  const here = figure.querySelector(".here");
  const last = pictures.length - 1;
  let before = 0; // where a flicker returns to

  function show() {
    const at = Number(slider.value);
    const name = pictures[at].dataset.name;
    pictures.forEach((picture, i) => picture.classList.toggle("shown", i === at));
    slider.setAttribute("aria-valuetext", name);
    output.textContent = name;
    button.setAttribute("aria-pressed", String(at === last));
    if (at !== last) before = at;
    if (here) {
      here.setAttribute("visibility", at < stops.length ? "visible" : "hidden");
      for (const side of at < stops.length ? ["cx", "cy"] : [])
        here.setAttribute(side, stops[at].getAttribute(side));
    }
  }
  function flick() {
    slider.value = Number(slider.value) === last ? before : last;
    show();
  }
  slider.addEventListener("input", show);
  slider.addEventListener("keydown", (event) => {
    if (event.key !== " ") return;
    event.preventDefault(); // the page would scroll
    flick();
  });
  button.addEventListener("click", flick);
  figure.hidden = false;
  show();
  if (here) fold(figure.parentElement.querySelector("figure:not(.frames)"));
}

// The strip says the same as the slider: one can still open it, and paper shows it.
function fold(strip) {
  if (!strip) return;
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = "All rates at once";
  strip.replaceWith(details);
  details.append(summary, strip);
  addEventListener("beforeprint", () => (details.open = true));
}
