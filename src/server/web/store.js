// Conversations, kept in this browser.
//
// A conversation is a tree of turns: editing or regenerating adds a sibling, and `leaf` says which
// branch is shown. One storage entry each, so that writing one does not rewrite all.

const PREFIX = "upg.chat.";

const newId = () => Date.now().toString(36) + Math.random().toString(36).slice(2, 8);

export function newConversation(like = null) {
  const now = Date.now();
  return {
    id: newId(), title: "", created: now, updated: now, leaf: null, turns: {},
    system: like?.system ?? "", sampling: { ...like?.sampling },
  };
}

function parse(text) {
  try {
    const value = JSON.parse(text);
    return typeof value?.id === "string" && typeof value.turns === "object" ? value : null;
  } catch {
    return null;
  }
}

// Newest first.
export function conversations() {
  const all = [];
  for (let i = 0; i < localStorage.length; ++i) {
    const key = localStorage.key(i);
    const value = key.startsWith(PREFIX) ? parse(localStorage.getItem(key)) : null;
    if (value) all.push(value);
  }
  return all.sort((a, b) => b.updated - a.updated);
}

export const loadConversation = (id) => parse(localStorage.getItem(PREFIX + id));

// False when the browser's storage is full.
export function saveConversation(conversation) {
  try {
    localStorage.setItem(PREFIX + conversation.id, JSON.stringify(conversation));
    return true;
  } catch {
    return false;
  }
}

export const removeConversation = (id) => localStorage.removeItem(PREFIX + id);

export const isConversationKey = (key) => key === null || key.startsWith(PREFIX);

export function addTurn(conversation, parent, role, text) {
  const turn = { id: newId(), parent, role, text, created: Date.now() };
  conversation.turns[turn.id] = turn;
  conversation.leaf = turn.id;
  conversation.updated = turn.created;
  if (!conversation.title && role === "user") conversation.title = titleOf(text);
  return turn;
}

function titleOf(text) {
  const line = text.trim().split("\n", 1)[0].replace(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 59).trimEnd()}…` : line;
}

// From the first turn to `leaf`.
export function branch(conversation, leaf = conversation.leaf) {
  const turns = [];
  for (let turn = conversation.turns[leaf]; turn; turn = conversation.turns[turn.parent]) {
    turns.unshift(turn);
  }
  return turns;
}

const children = (conversation, parent) =>
  Object.values(conversation.turns).filter((turn) => turn.parent === parent);

// A turn and those it could be exchanged for, oldest first.
export const siblings = (conversation, turn) => children(conversation, turn.parent);

// Shows the branch through `turn` that was written last.
export function showTurn(conversation, turn) {
  let leaf = turn;
  for (;;) {
    const below = children(conversation, leaf.id);
    if (below.length === 0) break;
    leaf = below[below.length - 1];
  }
  conversation.leaf = leaf.id;
}

export function asMarkdown(conversation) {
  const parts = [`# ${conversation.title || "Conversation"}`];
  if (conversation.system) parts.push(`*System: ${conversation.system}*`);
  for (const turn of branch(conversation)) {
    parts.push(`## ${turn.role === "user" ? "You" : "Model"}`, turn.text);
  }
  return `${parts.join("\n\n")}\n`;
}
