// The list of conversations, by day.

import { byId, el, iconButton, toast } from "./dom.js";
import { day } from "./format.js";
import { asMarkdown, conversations, loadConversation, removeConversation, saveConversation }
  from "./store.js";

function download(conversation) {
  const address = URL.createObjectURL(new Blob([asMarkdown(conversation)],
    { type: "text/markdown" }));
  const name = (conversation.title || "conversation").replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60);
  el("a", { href: address, download: `${name}.md` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function remove(conversation, chat, changed) {
  chat.generations.get(conversation.id)?.stop();
  removeConversation(conversation.id);
  changed(conversation.id);
  toast("Conversation deleted.", "Undo", () => {
    saveConversation(conversation);
    changed(null);
  });
}

function rename(row, conversation, changed) {
  const input = el("input", { class: "rename", "aria-label": "Title" });
  input.value = conversation.title;
  const finish = (keep) => {
    // The list's entry is a copy, and may be older than what is stored.
    const stored = loadConversation(conversation.id);
    if (keep && input.value.trim() && stored) {
      changed.rename(stored, input.value.trim());
    }
    changed(null);
  };
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") event.stopPropagation();
    if (event.key === "Enter" || event.key === "Escape") finish(event.key === "Enter");
  });
  input.addEventListener("blur", () => input.isConnected && finish(true));
  row.replaceChildren(input);
  input.focus();
  input.select();
}

function entry(conversation, chat, changed) {
  const current = chat.conversation?.id === conversation.id;
  const title = conversation.title || "New conversation";
  const writing = chat.generations.has(conversation.id);
  const row = el("li", { class: current ? "entry current" : "entry" });
  row.append(
    el("a", { class: "entry-title", href: `#c=${conversation.id}`, title,
      "aria-current": current ? "page" : undefined },
    writing ? el("span", { class: "writing", role: "img", "aria-label": "writing" }) : null, title),
    el("span", { class: "entry-tools" },
      iconButton("edit", `Rename “${title}”`, () => rename(row, conversation, changed)),
      iconButton("save", `Save “${title}” as Markdown`, () => download(conversation)),
      iconButton("trash", `Delete “${title}”`, () => remove(conversation, chat, changed))));
  return row;
}

// changed(removedId or null) is called after the list changed; changed.rename(stored, title) names.
export function showSidebar(chat, changed) {
  const box = byId("conversations");
  const groups = new Map();
  for (const conversation of conversations()) {
    const key = day(conversation.updated);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(entry(conversation, chat, changed));
  }
  box.replaceChildren(...[...groups].flatMap(([name, rows]) =>
    [el("h2", {}, name), el("ul", {}, rows)]));
  if (groups.size === 0) {
    box.append(el("p", { class: "hint" }, "Conversations appear here and stay in this browser."));
  }
}
