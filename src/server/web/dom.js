// Elements from code. Text goes in as text, never as markup: nothing in this page parses HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") node.addEventListener(key, value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

// el("button", {class: "x", click: handler}, "text", child)
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

export const byId = (id) => document.getElementById(id);

// Drawn on a grid of 20, in the colour of the text around them.
const ICONS = {
  menu: "M3 6h14M3 10h14M3 14h9",
  close: "M5 5l10 10M15 5 5 15",
  sliders: "M3 6h7M14 6h3M3 14h3M10 14h7M12 4v4M8 12v4",
  send: "M10 16V4M5 9l5-5 5 5",
  copy: "M7 7h9v9H7zM4 13V4h9",
  check: "M4 10.5l4 4 8-9",
  edit: "M4 16l.8-3.6L13 4.2l2.8 2.8L7.6 15.2zM11.5 5.7l2.8 2.8",
  again: "M15.5 7A6.5 6.5 0 1 0 16.5 11M16 3.5V7h-3.5",
  trash: "M4 6h12M8 6V4h4v2M6 6l.7 10h6.6L14 6",
  left: "M12 5l-5 5 5 5",
  right: "M8 5l5 5-5 5",
  sun: "M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18" +
    "M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M4.3 15.7l1.1-1.1M14.6 5.4l1.1-1.1",
  moon: "M16 11.8A6.5 6.5 0 0 1 8.2 4a6.5 6.5 0 1 0 7.8 7.8z",
  system: "M3 4h14v9H3zM7 16.5h6M10 13v3.5",
  save: "M10 3v9M6 8.5l4 4 4-4M4 16h12",
};

export function icon(name) {
  const shape = name === "stop" ? svg("rect", { x: 5.5, y: 5.5, width: 9, height: 9, rx: 1.5,
    fill: "currentColor", stroke: "none" }) : svg("path", { d: ICONS[name] });
  return svg("svg", { class: "icon", viewBox: "0 0 20 20", width: 20, height: 20,
    "aria-hidden": "true" }, shape);
}

export function iconButton(name, label, click, extra = {}) {
  return el("button", { type: "button", class: "icon-button", "aria-label": label, title: label,
    click, ...extra }, icon(name));
}

// Says something to screen readers without moving the focus.
export function announce(text) {
  byId("status").textContent = text;
}

let toastTimer = 0;

// A line at the foot of the page, with at most one thing to press.
export function toast(text, action = "", click = null) {
  const box = byId("toast");
  const hide = () => { box.hidden = true; };
  clearTimeout(toastTimer);
  box.replaceChildren(el("span", {}, text));
  if (click) {
    box.append(el("button", { type: "button", class: "link-button", click: () => {
      hide();
      click();
    } }, action));
  }
  box.hidden = false;
  toastTimer = setTimeout(hide, click ? 8000 : 4000);
}

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages over plain http from another machine have no clipboard object.
    const area = el("textarea", { class: "visually-hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

// A button that copies what `text()` gives and says so.
export function copyButton(text, label = "Copy", extra = {}) {
  const button = iconButton("copy", label, async () => {
    await copyText(text());
    button.replaceChildren(icon("check"));
    announce("Copied");
    setTimeout(() => button.replaceChildren(icon("copy")), 1500);
  }, extra);
  return button;
}
