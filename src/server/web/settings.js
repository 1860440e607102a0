// The panel of a conversation's settings: system prompt, sampling, length, the API key.

import { apiKey, forgetApiKey } from "./api.js";
import { byId, el, iconButton, toast } from "./dom.js";

// name in the API, label, what it does, step, lowest, highest
const SAMPLING = [
  ["temperature", "Temperature", "0 always takes the likeliest token", 0.05, 0, 2],
  ["top_k", "Top k", "Keeps the k likeliest tokens; 0 is off", 1, 0],
  ["top_p", "Top p", "Keeps the likeliest up to this probability; 1 is off", 0.01, 0, 1],
  ["min_p", "Min p", "Drops tokens below this share of the likeliest; 0 is off", 0.01, 0, 1],
  ["repeat_penalty", "Repeat penalty", "Above 1, repeated tokens get less likely", 0.05, 0],
  ["presence_penalty", "Presence penalty", "Against tokens that occurred at all", 0.1, -2, 2],
  ["frequency_penalty", "Frequency penalty", "Against tokens, the more they occurred", 0.1, -2, 2],
];
const LENGTH = [
  ["max_tokens", "Longest answer", "In tokens; empty is to the end", 1, 1],
  ["seed", "Seed", "The same seed gives the same text", 1, 0],
];

function numberField([name, label, hint, step, min, max], conversation, defaults, changed) {
  const id = `setting-${name}`;
  const input = el("input", { id, type: "number", inputmode: "decimal", step, min, max,
    placeholder: defaults?.[name] ?? (name === "seed" ? "random" : ""),
    "aria-describedby": `${id}-hint` });
  input.value = conversation.sampling[name] ?? "";
  input.addEventListener("input", () => {
    if (input.value === "") delete conversation.sampling[name];
    else conversation.sampling[name] = Number(input.value);
    changed();
  });
  return el("div", { class: "field" }, el("label", { for: id }, label), input,
    el("p", { id: `${id}-hint`, class: "hint" }, hint));
}

function textField(id, label, hint, rows, value, changed) {
  const area = el("textarea", { id, rows, "aria-describedby": `${id}-hint` });
  area.value = value;
  area.addEventListener("input", () => changed(area.value));
  return el("div", { class: "field wide" }, el("label", { for: id }, label), area,
    el("p", { id: `${id}-hint`, class: "hint" }, hint));
}

function stopField(conversation, changed) {
  const lines = (conversation.sampling.stop ?? []).join("\n");
  return textField("setting-stop", "Stop before", "One text a line; the answer ends before any", 2,
    lines, (value) => {
      const stop = value.split("\n").filter((line) => line !== "");
      if (stop.length > 0) conversation.sampling.stop = stop;
      else delete conversation.sampling.stop;
      changed();
    });
}

function keySection() {
  if (!apiKey()) return null;
  return el("section", {}, el("h3", {}, "API key"), el("p", { class: "hint" },
    "This browser sends a key with every request. "), el("button", { type: "button",
    class: "button", click: () => {
      forgetApiKey();
      toast("The key is forgotten.");
      byId("settings").querySelector("#settings-title")?.focus();
    } }, "Forget the key"));
}

// Fills the panel. changed(): the conversation was, and is to be saved.
export function showSettings(conversation, defaults, changed, close) {
  const panel = byId("settings");
  const redraw = () => showSettings(conversation, defaults, changed, close);
  const fields = (rows) => rows.map((row) => numberField(row, conversation, defaults, changed));
  panel.replaceChildren(
    el("div", { class: "settings-head" },
      el("h2", { id: "settings-title", tabindex: "-1" }, "Settings"),
      iconButton("close", "Close the settings", close)),
    el("div", { class: "settings-body" },
      el("p", { class: "hint" }, "Of this conversation; the next one starts with them."),
      textField("setting-system", "System prompt", "What the model is told first", 4,
        conversation.system, (value) => {
          conversation.system = value;
          changed();
        }),
      el("section", {}, el("h3", {}, "Sampling"),
        el("div", { class: "fields" }, fields(SAMPLING))),
      el("section", {}, el("h3", {}, "Length"),
        el("div", { class: "fields" }, fields(LENGTH), stopField(conversation, changed))),
      el("button", { type: "button", class: "button", click: () => {
        conversation.sampling = {};
        changed();
        redraw();
        toast("Sampling and length are the model's own again.");
      } }, "Reset to the model's own"),
      keySection()));
}
