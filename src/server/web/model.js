// The model page: what the file is, how its bits are spent, what runs now.

import { ApiError, getJson, getProps } from "./api.js";
import { bitsChart, codecsOf, legend, sparkline, stackedBar } from "./chart.js";
import { el } from "./dom.js";
import { bits, bytes, count, large, percent, rate } from "./format.js";

const POLL_MS = 1000;
const MINUTE = 60;  // polls that the line shows

// "model.layers.3.self_attn.q_proj.weight" -> "self_attn.q_proj"
const kindOf = (name) => name.replace(/^model\./, "").replace(/^layers\.\d+\./, "")
  .replace(/\.weight$/, "");

function kinds(tensors) {
  const groups = new Map();
  for (const tensor of tensors) {
    const kind = kindOf(tensor.name);
    if (!groups.has(kind)) groups.set(kind, []);
    groups.get(kind).push(tensor);
  }
  return [...groups];
}

const sum = (tensors, value) => tensors.reduce((total, tensor) => total + value(tensor), 0);

function kindRow([kind, tensors]) {
  const weights = sum(tensors, (tensor) => tensor.rows * tensor.cols);
  const size = sum(tensors, (tensor) => tensor.bytes);
  const shapes = new Set(tensors.map(({ rows, cols }) => `${count(rows)} × ${count(cols)}`));
  return el("tr", {}, el("th", { scope: "row" }, kind), el("td", {}, tensors.length),
    el("td", {}, [...shapes].join(", ")), el("td", {}, codecsOf(tensors).join(", ")),
    el("td", {}, bits((8 * size) / weights)), el("td", {}, bytes(size)));
}

function tensorTable(tensors) {
  const head = ["Matrix", "Count", "Shape", "Codecs", "Bits", "Size"];
  return el("div", { class: "table-scroll", tabindex: "0" }, el("table", { class: "figures-table" },
    el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, kinds(tensors).map(kindRow))));
}

function facts(model, version) {
  const rows = [
    ["File", `${bytes(model.file_bytes)}, ${model.ratio_f32.toFixed(2)} to 1 against float32`],
    ["Bits a weight", bits(model.bits_per_weight)],
    ["Parameters", large(model.parameters)],
    ["Shape", `${count(model.layers)} layers of ${count(model.hidden)}, vocabulary ` +
      `${count(model.vocabulary)}`],
    ["Context", model.context === model.model_context ? `${count(model.context)} tokens`
      : `${count(model.context)} of the model's ${count(model.model_context)} tokens`],
    ["Architecture", model.architecture],
    ["Profile", model.profile],
    ["Backend", model.backend],
    ["Chat template", model.chat_template || "none: chat is refused"],
    ["Server", `upg ${version}`],
  ];
  return el("dl", { class: "facts" }, rows.filter(([, value]) => value).flatMap(([name, value]) =>
    [el("dt", {}, name), el("dd", {}, value)]));
}

function memorySection(memory) {
  const { weight_bytes, cache_bytes, cache_used_bytes, resident_bytes } = memory;
  const parts = [
    { label: "Weights", bytes: weight_bytes, class: "part-weights" },
    { label: "Cache in use", bytes: cache_used_bytes, class: "part-used" },
    { label: "Cache free", bytes: cache_bytes - cache_used_bytes, class: "part-free" },
  ];
  return [
    stackedBar(parts, weight_bytes + cache_bytes, "Weights and cache"),
    el("dl", { class: "parts" }, parts.map((part) => el("div", { class: part.class },
      el("dt", {}, part.label), el("dd", {}, bytes(part.bytes))))),
    el("p", { class: "hint" }, `${percent(cache_used_bytes, cache_bytes)} of the cache is in use; ` +
      `${bytes(resident_bytes)} of the process are in memory.`),
  ];
}

const STATES = { queued: "waiting", prompt: "reading the prompt", generating: "writing" };

function slotRow(slot) {
  const prompt = slot.cached_tokens > 0
    ? `${count(slot.prompt_tokens)} (${count(slot.cached_tokens)} cached)`
    : count(slot.prompt_tokens);
  return el("tr", {}, el("th", { scope: "row" }, String(slot.id)),
    el("td", {}, STATES[slot.state] ?? slot.state), el("td", {}, prompt),
    el("td", {}, count(slot.generated_tokens)), el("td", {}, slot.tokens_per_second > 0 ? rate(slot.tokens_per_second) : "–"));
}

function slotTable(slots) {
  if (slots.length === 0) return el("p", { class: "hint" }, "No request at this moment.");
  const head = ["Request", "State", "Prompt", "Written", "Tokens/s"];
  return el("div", { class: "table-scroll", tabindex: "0" }, el("table", { class: "figures-table" },
    el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, slots.map(slotRow))));
}

export class ModelPage {
  constructor(root, server) {
    this.root = root;
    this.server = server;
    this.timer = 0;
    this.rates = [];
  }

  show() {
    this.draw();
    if (this.timer === 0) this.poll();
  }

  hide() {
    clearTimeout(this.timer);
    this.timer = 0;
  }

  draw() {
    const { props, id } = this.server;
    if (!props) {
      this.root.replaceChildren(el("p", { class: "hint" }, id ?
        `${id} is not loaded: it will be when it is first asked something.` :
        "The server has not answered yet."));
      return;
    }
    this.memory = el("div", {});
    this.slots = el("div", { class: "slots" });
    const tensors = props.tensors ?? [];
    this.root.replaceChildren(el("div", { class: "model-page" },
      el("h1", {}, id),
      el("p", { class: "lead" }, `${large(props.model.parameters)} parameters in ` +
        `${bytes(props.model.file_bytes)}: ${bits(props.model.bits_per_weight)} bits a weight.`),
      facts(props.model, props.version),
      el("section", {}, el("h2", {}, "Now"), this.slots),
      el("section", {}, el("h2", {}, "Memory"), this.memory),
      tensors.length === 0 ? null : el("section", {}, el("h2", {}, "Bits"),
        el("p", { class: "hint" }, "Every tensor in the file's order: width is its number of " +
          "weights, height its bits a weight, area its size. Numbers below are layers."),
        el("div", { class: "chart-scroll", tabindex: "0" }, bitsChart(tensors)),
        legend(tensors), tensorTable(tensors))));
    this.memory.replaceChildren(...memorySection(props.memory));
  }

  async poll() {
    this.timer = -1;
    try {
      if (this.server.id && !document.hidden) await this.refresh();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.slots.replaceChildren(el("p", { class: "hint" }, error.message));
    }
    if (this.timer !== 0) this.timer = setTimeout(() => this.poll(), POLL_MS);
  }

  async refresh() {
    const [slots, props] = await Promise.all([getJson("slots", { quiet: true }),
      getProps(this.server.id, { quiet: true })]);
    if (!this.server.props && props) {  // it was loaded meanwhile
      this.server.props = props;
      this.draw();
    }
    if (!this.server.props) return;
    const speed = slots.reduce((total, slot) => total + slot.tokens_per_second, 0);
    this.rates = [...this.rates, speed].slice(-MINUTE);
    this.slots.replaceChildren(
      el("p", { class: "speed" }, el("strong", {}, rate(speed)), " tokens a second, all requests"),
      sparkline(this.rates, MINUTE), slotTable(slots));
    if (props) this.memory.replaceChildren(...memorySection(props.memory));
  }
}
