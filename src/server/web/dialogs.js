// What opens above the page: the keys' list, the question for an API key.

import { setApiKey } from "./api.js";
import { byId, el, iconButton } from "./dom.js";

const KEYS = [
  ["Enter", "Send the message"],
  ["Shift + Enter", "New line"],
  ["Esc", "Stop the answer"],
  ["↑", "In an empty message box: edit your last message"],
  ["Ctrl + Shift + O", "New conversation"],
  ["Ctrl + ,", "Settings"],
  ["Ctrl + /", "This list"],
];

export function showHelp() {
  const dialog = byId("help");
  if (dialog.open) {
    dialog.close();
    return;
  }
  const close = () => dialog.close();
  dialog.replaceChildren(
    el("div", { class: "dialog-head" }, el("h2", { id: "help-title" }, "Keyboard shortcuts"),
      iconButton("close", "Close", close)),
    el("dl", { class: "keys" }, KEYS.flatMap(([keys, what]) => [
      el("dt", {}, keys.split(" + ").flatMap((key, i) => [i > 0 ? " " : "", el("kbd", {}, key)])),
      el("dd", {}, what)])));
  dialog.showModal();
}

// Asks for a key, with what the server said; null when the user gives none.
export function askForKey(message) {
  const dialog = byId("key-dialog");
  const input = el("input", { id: "key", type: "password", autocomplete: "off",
    spellcheck: "false", required: true });
  const remember = el("input", { id: "remember", type: "checkbox" });
  return new Promise((resolve) => {
    const finish = (key) => {
      if (key) setApiKey(key, remember.checked);
      resolve(key);
      dialog.onclose = null;
      dialog.close();
    };
    dialog.replaceChildren(el("form", { submit: (event) => {
      event.preventDefault();
      finish(input.value.trim() || null);
    } },
    el("h2", { id: "key-title" }, "This server asks for a key"),
    el("p", { class: "said" }, message),
    el("label", { for: "key" }, "API key"), input,
    el("label", { class: "check" }, remember, "Keep it in this browser after it is closed"),
    el("div", { class: "dialog-foot" },
      el("button", { type: "button", class: "button", click: () => finish(null) }, "Cancel"),
      el("button", { type: "submit", class: "button primary" }, "Use the key"))));
    dialog.onclose = () => finish(null);
    dialog.showModal();
    input.focus();
  });
}
