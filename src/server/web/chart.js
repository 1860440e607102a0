// Drawings of the model page, in SVG.

import { el, svg } from "./dom.js";
import { bits, bytes, count, rate } from "./format.js";

const WIDTH = 960;
const HEIGHT = 260;
const LEFT = 34;    // the scale's figures
const BOTTOM = 22;  // the layers' numbers
const PLOT = { width: WIDTH - LEFT, height: HEIGHT - BOTTOM - 8, top: 8 };

// Codecs in the order of their first tensor; the colour is the class codec-N.
export function codecsOf(tensors) {
  return [...new Set(tensors.map((tensor) => tensor.codec))];
}

const layerOf = (name) => Number(/\.(\d+)\./.exec(name)?.[1] ?? -1);

// The scale's end; norms and the like, narrower than a pixel, do not set it.
function highest(tensors, weights, all) {
  const most = Math.max(1, ...tensors.filter((_, i) => weights[i] * WIDTH >= all)
    .map((tensor) => tensor.bits_per_weight));
  const step = [1, 2, 4].find((one) => most <= 5 * one) ?? 8;
  return { step, limit: step * Math.ceil(most / step) };
}

function scale({ limit, step }) {
  const lines = [];
  for (let value = 0; value <= limit; value += step) {
    const y = PLOT.top + PLOT.height * (1 - value / limit);
    lines.push(svg("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y, y2: y }),
      svg("text", { class: "tick", x: LEFT - 8, y: y + 4, "text-anchor": "end" }, value));
  }
  return lines;
}

function describe(tensor) {
  return `${tensor.name}: ${tensor.codec}, ${count(tensor.rows)} × ${count(tensor.cols)}, ` +
    `${bits(tensor.bits_per_weight)} bits a weight, ${bytes(tensor.bytes)}`;
}

// Every tensor as a bar: width its weights, height its bits each, so that area is its size.
export function bitsChart(tensors) {
  const weights = tensors.map((tensor) => tensor.rows * tensor.cols);
  const all = weights.reduce((sum, value) => sum + value, 0);
  const axis = highest(tensors, weights, all);
  const codecs = codecsOf(tensors);
  const bars = [];
  const layers = [];
  let x = LEFT;
  let layer = -1;
  tensors.forEach((tensor, i) => {
    const width = (PLOT.width * weights[i]) / all;
    const height = PLOT.height * Math.min(1, tensor.bits_per_weight / axis.limit);
    const gap = width > 4 ? 1 : 0;
    bars.push(svg("rect", { class: `tensor codec-${codecs.indexOf(tensor.codec)}`, x, width: width - gap,
      y: PLOT.top + PLOT.height - height, height }, svg("title", {}, describe(tensor))));
    const now = layerOf(tensor.name);
    if (now !== layer && now >= 0) layers.push({ x, layer: now });
    layer = now;
    x += width;
  });
  const step = Math.ceil(layers.length / 16);
  const labels = layers.filter((_, i) => i % step === 0).map((at) =>
    svg("text", { class: "tick", x: at.x, y: HEIGHT - 5 }, at.layer));
  return svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
    "aria-label": `Bits a weight of ${tensors.length} tensors; the table below has the figures` },
  scale(axis), bars, labels);
}

export function legend(tensors) {
  return el("ul", { class: "legend" }, codecsOf(tensors).map((codec, i) => {
    const size = tensors.filter((tensor) => tensor.codec === codec)
      .reduce((sum, tensor) => sum + tensor.bytes, 0);
    return el("li", {}, svg("svg", { width: 12, height: 12, "aria-hidden": "true" },
      svg("rect", { class: `codec-${i}`, width: 12, height: 12, rx: 2 })), `${codec}, ${bytes(size)}`);
  }));
}

// parts: [{label, bytes, class}], a bar that is `all` bytes long.
export function stackedBar(parts, all, label) {
  let x = 0;
  const rects = parts.map((part) => {
    const width = all > 0 ? (100 * part.bytes) / all : 0;
    const rect = svg("rect", { class: part.class, x, width, height: 10 },
      svg("title", {}, `${part.label}: ${bytes(part.bytes)}`));
    x += width;
    return rect;
  });
  return svg("svg", { class: "stacked", viewBox: "0 0 100 10", preserveAspectRatio: "none",
    role: "img", "aria-label": label }, rects);
}

// values: tokens a second, one a poll, the newest last.
export function sparkline(values, length) {
  const most = Math.max(1, ...values);
  const step = 300 / (length - 1);
  const points = values.map((value, i) =>
    `${((length - values.length + i) * step).toFixed(1)},${(44 - (40 * value) / most).toFixed(1)}`);
  return svg("svg", { class: "sparkline", viewBox: "0 0 300 46", preserveAspectRatio: "none",
    role: "img", "aria-label": `Tokens a second in the last minute, at most ${rate(most)}` },
  svg("polyline", { points: points.join(" ") }));
}
