// Markdown inside a line: code, emphasis, links. After CommonMark's algorithm of delimiter runs
// (spec 0.31, appendix), on a DOM: a run is a text node until it finds its partner.
//
// Model text becomes text nodes only. HTML in it is shown as text, images become links (nothing is
// loaded from outside), and links lead to http, https and mailto alone. Work is linear in the text:
// the stacks below forget their oldest entry instead of growing.

import { el } from "./dom.js";

const STACK = 48;      // open delimiters or brackets that are remembered
const LONGEST_RUN = 12;  // of * _ ~; more is decoration
const PUNCTUATION = /[\p{P}\p{S}]/u;
const SPECIAL = /[\\`*_~[\]!<&\n]|https?:\/\//g;
const ESCAPED = /[!-/:-@[-`{-~]/;
const TARGET = /\(\s*(?:<([^<>\n]*)>|([^\s()<>]*(?:\([^\s()<>]*\)[^\s()<>]*)*))(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/y;
const AUTOLINK = /<((?:https?:\/\/|mailto:)[^\s<>]*)>/y;
const BARE = /https?:\/\/[^\s<>"`]+/y;
const ENTITY = /&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|(amp|lt|gt|quot|apos|nbsp|hellip|mdash|ndash));/iy;
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0",
  hellip: "…", mdash: "—", ndash: "–" };

// The address if it may be followed, else null.
export function safeAddress(text) {
  try {
    const url = new URL(text);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;  // relative: nothing of the model's lies on this server
  }
}

function link(address, ...children) {
  return el("a", { href: address, title: address, target: "_blank",
    rel: "noopener noreferrer nofollow" }, ...children);
}

const match = (pattern, text, at) => {
  pattern.lastIndex = at;
  return pattern.exec(text);
};

class Inline {
  constructor(text, parent) {
    this.text = text;
    this.parent = parent;
    this.at = 0;
    this.delimiters = [];
    this.brackets = [];
    this.ticks = null;
  }

  write(text) {
    const node = document.createTextNode(text);
    this.parent.append(node);
    return node;
  }

  run() {
    while (this.at < this.text.length) {
      const next = match(SPECIAL, this.text, this.at)?.index ?? this.text.length;
      if (next > this.at) this.write(this.text.slice(this.at, next));
      this.at = next;
      if (next < this.text.length) this.special(this.text[next]);
    }
    this.emphasise(0);
  }

  special(char) {
    if (char === "\\") this.escape();
    else if (char === "`") this.code();
    else if (char === "*" || char === "_" || char === "~") this.delimiter(char);
    else if (char === "[" || char === "!") this.open(char);
    else if (char === "]") this.close();
    else if (char === "<") this.autolink();
    else if (char === "&") this.entity();
    else if (char === "\n") this.lineBreak();
    else this.bareLink();
  }

  take(length) {
    this.write(this.text.slice(this.at, this.at + length));
    this.at += length;
  }

  escape() {
    const next = this.text[this.at + 1] ?? "";
    if (next === "\n") {
      this.parent.append(el("br"));
      this.at += 2;
    } else if (ESCAPED.test(next)) {
      this.at += 1;
      this.take(1);
    } else {
      this.take(1);
    }
  }

  lineBreak() {
    const last = this.parent.lastChild;
    const hard = last?.nodeType === Node.TEXT_NODE && last.data.endsWith("  ");
    if (hard) this.parent.append(el("br"));
    else this.write("\n");
    this.at += 1;
  }

  entity() {
    const found = match(ENTITY, this.text, this.at);
    if (!found) return this.take(1);
    const [all, decimal, hex, name] = found;
    const code = decimal ? Number(decimal) : parseInt(hex, 16);
    const char = name ? ENTITIES[name.toLowerCase()]
      : code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : "\ufffd";
    this.write(char);
    this.at += all.length;
  }

  // Where each length of backtick run begins, so that no run is searched for twice.
  tickRuns() {
    const runs = new Map();
    for (const { 0: run, index } of this.text.matchAll(/`+/g)) {
      if (!runs.has(run.length)) runs.set(run.length, { starts: [], next: 0 });
      runs.get(run.length).starts.push(index);
    }
    return runs;
  }

  code() {
    this.ticks ??= this.tickRuns();
    const length = /^`+/.exec(this.text.slice(this.at, this.at + 64))[0].length;
    const runs = this.ticks.get(length);
    while (runs && runs.starts[runs.next] <= this.at) runs.next += 1;
    const end = runs?.starts[runs.next];
    if (end === undefined) return this.take(length);
    let inside = this.text.slice(this.at + length, end).replace(/\n/g, " ");
    const padded = inside.startsWith(" ") && inside.endsWith(" ") && inside.trim() !== "";
    if (padded) inside = inside.slice(1, -1);
    this.parent.append(el("code", {}, inside));
    this.at = end + length;
  }

  autolink() {
    const found = match(AUTOLINK, this.text, this.at);
    const address = found && safeAddress(found[1]);
    if (!address) return this.take(1);
    this.parent.append(link(address, found[1]));
    this.at += found[0].length;
  }

  bareLink() {
    let found = match(BARE, this.text, this.at)?.[0];
    if (!found) return this.take(4);  // nothing behind the slashes, or not yet
    let end = found.length;
    while (".,:;!?'*_~]".includes(found[end - 1])) end -= 1;
    found = found.slice(0, end);
    if (found.endsWith(")") && !found.includes("(")) found = found.slice(0, -1);
    const address = safeAddress(found);
    const inWord = /\w/.test(this.text[this.at - 1] ?? "");
    if (!address || inWord || this.brackets.length > 0) return this.take(4);
    this.parent.append(link(address, found));
    this.at += found.length;
  }

  delimiter(char) {
    let end = this.at;
    while (this.text[end] === char) end += 1;
    const length = end - this.at;
    const before = this.text[this.at - 1] ?? " ";
    const after = this.text[end] ?? " ";
    this.take(length);
    if (length > LONGEST_RUN || (char === "~" && length !== 2)) return;
    const left = !/\s/.test(after) &&
      (!PUNCTUATION.test(after) || /\s/.test(before) || PUNCTUATION.test(before));
    const right = !/\s/.test(before) &&
      (!PUNCTUATION.test(before) || /\s/.test(after) || PUNCTUATION.test(after));
    const word = char === "_";
    const opens = left && (!word || !right || PUNCTUATION.test(before));
    const closes = right && (!word || !left || PUNCTUATION.test(after));
    if (!opens && !closes) return;
    this.delimiters.push({ char, length, opens, closes, node: this.parent.lastChild, all: length });
    if (this.delimiters.length > STACK) this.settle();
  }

  // The stack is full: what can pair does, and the older half of the rest stays text.
  settle() {
    this.emphasise(0, true);
    this.delimiters.splice(0, Math.max(0, this.delimiters.length - STACK / 2));
  }

  open(char) {
    if (char === "!" && this.text[this.at + 1] !== "[") return this.take(1);
    this.take(char === "!" ? 2 : 1);
    this.brackets.push({ node: this.parent.lastChild, delimiters: this.delimiters.length });
    if (this.brackets.length > STACK) this.brackets.shift();
  }

  close() {
    const bracket = this.brackets.pop();
    const target = bracket && match(TARGET, this.text, this.at + 1);
    const address = target && safeAddress(target[1] ?? target[2]);
    if (!address) return this.take(1);
    // Without what `settle` took from the stack meanwhile, the count may lie past its end.
    this.emphasise(Math.min(bracket.delimiters, this.delimiters.length));
    const anchor = link(address);
    while (bracket.node.nextSibling) anchor.append(bracket.node.nextSibling);
    if (!anchor.textContent) anchor.textContent = address;
    bracket.node.replaceWith(anchor);
    this.brackets = [];  // no link in a link
    this.at += 1 + target[0].length;
  }

  // Pairs closers with openers from `bottom` of the stack on, and forgets those that stay alone.
  emphasise(bottom, keepOpeners = false) {
    for (let i = bottom; i < this.delimiters.length; ++i) {
      const closer = this.delimiters[i];
      while (closer.closes && closer.length > 0) {
        const from = this.opener(closer, i, bottom);
        if (from < 0) break;
        this.wrap(this.delimiters[from], closer);
        this.delimiters.splice(from + 1, i - from - 1);
        i = from + 1;
        if (this.delimiters[from].length === 0) {
          this.delimiters.splice(from, 1);
          i -= 1;
        }
      }
      if (closer.length === 0) this.delimiters.splice(i--, 1);
      else if (!closer.opens) this.delimiters.splice(i--, 1);
    }
    if (!keepOpeners) this.delimiters.length = bottom;
  }

  opener(closer, below, bottom) {
    for (let i = below - 1; i >= bottom; --i) {
      const opener = this.delimiters[i];
      if (opener.char !== closer.char || !opener.opens) continue;
      const odd = (opener.closes || closer.opens) && (opener.all + closer.all) % 3 === 0 &&
        (opener.all % 3 !== 0 || closer.all % 3 !== 0);
      if (!odd && opener.node.parentNode === closer.node.parentNode) return i;
    }
    return -1;
  }

  wrap(opener, closer) {
    const two = opener.length >= 2 && closer.length >= 2;
    const used = two ? 2 : 1;
    const name = opener.char === "~" ? "del" : two ? "strong" : "em";
    const element = el(name);
    while (opener.node.nextSibling !== closer.node) element.append(opener.node.nextSibling);
    opener.node.after(element);
    for (const side of [opener, closer]) {
      side.length -= used;
      side.node.data = side.node.data.slice(used);
      if (side.length === 0) side.node.remove();
    }
  }
}

// Appends `text`, one block's worth, to `parent`.
export function appendInline(parent, text) {
  new Inline(text.trim(), parent).run();
  return parent;
}
