// Small helpers to build the page. Data only ever becomes text or an attribute's value, never markup: names that
// hostile clients have chosen are shown here.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

// el builds an element. Of props, `text` is its text, `css` properties of its style, `on` listeners, `data` its data-*;
// true and false stand for an attribute that is there or not; the rest are attributes.
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(node, props, children) {
  set(node, props);
  node.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

export function set(node, props) {
  for (const [name, value] of Object.entries(props)) {
    if (name === "text") setText(node, value);
    else if (name === "css") for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else if (name === "on") for (const [k, v] of Object.entries(value)) node.addEventListener(k, v);
    else if (name === "data") for (const [k, v] of Object.entries(value)) node.dataset[k] = v;
    else if (value === false || value === null || value === undefined) node.removeAttribute(name);
    else if (value === true) node.setAttribute(name, "");
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
  }
  return node;
}

// setText leaves a node alone that has the text already: what somebody selects stays selected.
export function setText(node, value) {
  const text = String(value ?? "");
  if (node.textContent !== text) node.textContent = text;
}

// keyed brings parent's children in line with items, in place: who stays keeps its node, hence focus and hover.
export function keyed(parent, items, keyOf, make, update) {
  const wanted = new Set(items.map(keyOf));
  const kept = new Map();
  for (const node of [...parent.children]) {
    const { key } = node.dataset;
    if (wanted.has(key) && !kept.has(key)) kept.set(key, node);
    else node.remove();
  }
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let node = kept.get(key);
    kept.delete(key);
    if (!node) {
      node = make(item);
      node.dataset.key = key;
    }
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
    update(node, item); // once it is in place: how wide it is may matter
  }
}

export const button = (text, onclick, props = {}) => el("button", { type: "button", text, on: { click: onclick }, ...props });

// download hands the user a file that was made here.
export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: url, download: name }).click();
  URL.revokeObjectURL(url);
}

const tip = () => byId("tip");
let described = null; // what the tip is about

// describes shows what `lines` returns while node is pointed at or has the focus.
export function describes(node, lines) {
  const show = () => {
    const t = tip();
    described = node;
    t.replaceChildren(...lines().map((line, i) => el(i === 0 ? "strong" : "div", { text: line })));
    t.hidden = false;
    const r = node.getBoundingClientRect();
    const left = Math.max(8, Math.min(r.left, document.documentElement.clientWidth - t.offsetWidth - 8));
    const below = r.bottom + 8 + t.offsetHeight < innerHeight;
    set(t, { css: { left: `${left}px`, top: `${below ? r.bottom + 8 : Math.max(8, r.top - t.offsetHeight - 8)}px` } });
  };
  set(node, { on: { pointerenter: show, focus: show, pointerleave: hideTip, blur: hideTip } });
  return node;
}

export function hideTip() {
  tip().hidden = true;
}

// tidyTip hides what is about something that has gone: that gets no event any more.
export function tidyTip() {
  if (described && !described.isConnected) hideTip();
}
