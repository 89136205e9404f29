// A slider over pictures. The browser holds them all and swaps them itself: no kernel is asked.

function make(tag, style, properties = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  element.style.cssText = style;
  return element;
}

function render({ model, el }) {
  const [title, labels, captions, frames] = ["title", "labels", "captions", "frames"].map((name) => model.get(name));
  const row = make("label", "display: flex; align-items: center; gap: 0.8em; max-width: 640px; margin-bottom: 0.4em");
  const handle = make("input", "flex: 1; min-width: 0", { type: "range", min: 0, max: labels.length - 1, value: 0 });
  handle.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab leaves the arrow keys to the slider
  const longest = Math.max(...labels.map((label) => label.length));
  const readout = make("output", `min-width: ${longest}ch`);
  row.append(make("span", "white-space: nowrap", { textContent: title }), handle, readout);

  const figure = make("figure", "margin: 0");
  const caption = make("figcaption", "line-height: 1.4; font-size: 110%; white-space: normal");
  caption.setAttribute("aria-live", "polite");
  const pictures = frames.map((source, i) => make("img", "max-width: 100%", { src: source, alt: captions[i] }));
  figure.append(...pictures, caption); // all of them, decoded once; only one is displayed

  function show(chosen) {
    pictures.forEach((picture, i) => (picture.style.display = i === chosen ? "" : "none"));
    handle.setAttribute("aria-valuetext", labels[chosen]);
    readout.textContent = labels[chosen];
    caption.textContent = captions[chosen];
  }
  handle.addEventListener("input", () => show(handle.valueAsNumber));
  show(0);
  el.append(row, figure);
}

export default { render };
