// The turns of a conversation as elements: text, what can be done with it, its figures.

import { copyButton, el, iconButton } from "./dom.js";
import { count, rate } from "./format.js";
import { showMarkdown } from "./markdown.js";
import { siblings } from "./store.js";

const FINISHES = {
  length: "Ended at the token limit",
  stopped: "Stopped",
  content_filter: "Ended by a filter",
};

function errorBox(turn, actions) {
  const { message, status, type, retryAfter } = turn.error;
  const kind = [status > 200 ? `HTTP ${status}` : "", type].filter(Boolean).join(" · ");
  const wait = retryAfter ? ` The server asks to wait ${retryAfter} s.` : "";
  return el("div", { class: "turn-error", role: "alert" },
    el("p", {}, message + wait),
    el("p", { class: "turn-error-foot" }, kind ? el("span", {}, kind) : null,
      el("button", { type: "button", class: "link-button", click: () => actions.regenerate(turn) },
        "Try again")));
}

// "42.1 tokens/s · 128 tokens · 20 of 35 prompt tokens cached"
function figures(turn) {
  const parts = [];
  if (turn.timings?.predicted_per_second > 0) {
    parts.push(`${rate(turn.timings.predicted_per_second)} tokens/s`);
  }
  if (turn.usage) {
    parts.push(`${count(turn.usage.completion_tokens)} tokens`);
    const cached = turn.usage.prompt_tokens_details?.cached_tokens ?? 0;
    const prompt = turn.usage.prompt_tokens;
    parts.push(cached > 0 ? `prompt ${count(prompt)}, ${count(cached)} cached`
      : `prompt ${count(prompt)}`);
  }
  return parts.join(" · ");
}

function versions(conversation, turn, actions) {
  const all = siblings(conversation, turn);
  if (all.length < 2) return null;
  const at = all.indexOf(turn);
  const step = (name, label, to) =>
    iconButton(name, label, () => actions.show(all[to]), { disabled: all[to] === undefined });
  return el("span", { class: "versions", role: "group", "aria-label": "Versions" },
    step("left", "Earlier version", at - 1), el("span", {}, `${at + 1} / ${all.length}`),
    step("right", "Later version", at + 1));
}

function tools(conversation, turn, actions) {
  return el("div", { class: "turn-tools" },
    versions(conversation, turn, actions),
    copyButton(() => turn.text, "Copy text", { disabled: !turn.text }),
    iconButton("edit", "Edit", () => actions.edit(turn)),
    iconButton("again", turn.role === "user" ? "Answer again" : "Regenerate",
      () => actions.regenerate(turn)),
    el("span", { class: "figures" }, figures(turn)));
}

// actions: {edit(turn), regenerate(turn), show(turn)}. The element has update(live), which shows
// what the turn says now; live: it is still being written.
export function turnElement(conversation, turn, actions) {
  const user = turn.role === "user";
  const body = el("div", { class: "turn-body" });
  const foot = el("div", { class: "turn-foot" });
  const node = el("article", { class: `turn turn-${turn.role}`, "data-id": turn.id,
    "aria-label": user ? "You" : "Model" }, body, foot);
  node.update = (live) => {
    node.classList.toggle("live", live);
    node.classList.toggle("waiting", live && !turn.text);
    if (user) body.textContent = turn.text;
    else showMarkdown(body, turn.text);
    foot.replaceChildren();
    if (live) return;
    if (FINISHES[turn.finish]) foot.append(el("p", { class: "finish" }, FINISHES[turn.finish]));
    if (turn.error) foot.append(errorBox(turn, actions));
    foot.append(tools(conversation, turn, actions));
  };
  return node;
}

// The turn as a text field. done(text or null when given up).
export function turnEditor(turn, done) {
  const user = turn.role === "user";
  const area = el("textarea", { class: "edit-area", "aria-label": user ? "Edit your message" :
    "Edit the answer", rows: 2 });
  area.value = turn.text;
  const finish = () => done(area.value.trim() ? area.value : null);
  const form = el("form", { class: "edit", submit: (event) => {
    event.preventDefault();
    finish();
  } }, area, el("div", { class: "edit-foot" },
    el("span", { class: "hint" }, "The version before stays."),
    el("button", { type: "button", class: "button", click: () => done(null) }, "Cancel"),
    el("button", { type: "submit", class: "button primary" }, user ? "Send" : "Save")));
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      done(null);
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing && user) {
      event.preventDefault();
      finish();
    }
  });
  return form;
}
