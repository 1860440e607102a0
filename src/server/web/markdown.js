// Markdown blocks, as models write them: headings, paragraphs, lists, quotes, code, tables, rules.
// A subset of CommonMark and GitHub's tables; see markdown_inline.js for what happens in a line and
// why model text cannot become anything but text.

import { copyButton, el } from "./dom.js";
import { highlight } from "./highlight.js";
import { appendInline } from "./markdown_inline.js";

const DEEPEST = 10;  // quotes and lists in each other; what is deeper is a paragraph

const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-+*]|\d{1,9}[.)])([ \t]+(?=\S)|$)/;
const TABLE_RULE = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const blank = (line) => /^\s*$/.test(line);

// Columns of white space that a line begins with; a tab is four.
function width(line) {
  let columns = 0;
  for (const char of line) {
    if (char !== " " && char !== "\t") break;
    columns += char === "\t" ? 4 : 1;
  }
  return columns;
}

// The line without `columns` of its leading white space, or as much as it has.
function unindent(line, columns) {
  let at = 0;
  for (; columns > 0 && (line[at] === " " || line[at] === "\t"); ++at) {
    columns -= line[at] === "\t" ? 4 : 1;
  }
  return " ".repeat(Math.max(0, -columns)) + line.slice(at);
}

// What ends a paragraph. A list may, if it has text and, numbered, begins at one.
function interrupts(line) {
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line)) return true;
  const item = ITEM.exec(line);
  return item !== null && item[3] !== "" && (/[-+*]/.test(item[2]) || parseInt(item[2], 10) === 1);
}

// Each reader takes lines from `at` on and gives {end, node()}, or null when it is not its block.

function readFence(lines, at) {
  const open = FENCE.exec(lines[at]);
  if (!open) return null;
  const [, indent, fence, info] = open;
  let end = at + 1;
  const closes = (line) => {
    const text = line.trim();
    return text.length >= fence.length && width(line) < 4 &&
      text === fence[0].repeat(text.length);
  };
  while (end < lines.length && !closes(lines[end])) end += 1;
  const body = lines.slice(at + 1, end).map((line) => unindent(line, indent.length));
  const language = info.trim().split(/\s/, 1)[0];
  return { end: Math.min(end + 1, lines.length), node: () => codeBlock(body.join("\n"), language) };
}

function readIndented(lines, at) {
  if (width(lines[at]) < 4) return null;
  let end = at;
  while (end < lines.length && (blank(lines[end]) || width(lines[end]) >= 4)) end += 1;
  while (blank(lines[end - 1])) end -= 1;
  const body = lines.slice(at, end).map((line) => unindent(line, 4)).join("\n");
  return { end, node: () => codeBlock(body, "") };
}

function codeBlock(text, language) {
  const code = el("code");
  highlight(code, text, language);
  return el("figure", { class: "code" },
    el("figcaption", {}, el("span", {}, language || "text"), copyButton(() => text, "Copy code")),
    el("pre", { tabindex: "0" }, code));
}

function readHeading(lines, at) {
  const found = HEADING.exec(lines[at]);
  if (!found) return null;
  let text = lines[at].slice(found[0].length).trim();
  let end = text.length;
  while (text[end - 1] === "#") end -= 1;
  if (end === 0 || text[end - 1] === " ") text = text.slice(0, end);
  // The page's own title is the first level.
  const level = Math.min(found[1].length + 1, 6);
  return { end: at + 1, node: () => appendInline(el(`h${level}`), text) };
}

const readRule = (lines, at) =>
  (RULE.test(lines[at]) ? { end: at + 1, node: () => el("hr") } : null);

function readQuote(lines, at, depth) {
  if (depth >= DEEPEST || !QUOTE.test(lines[at])) return null;
  let end = at;
  while (end < lines.length && !blank(lines[end]) &&
         (QUOTE.test(lines[end]) || !interrupts(lines[end]))) end += 1;
  const inside = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return { end, node: () => appendBlocks(el("blockquote"), inside, depth + 1) };
}

const kind = (marker) => marker[marker.length - 1];

// The lines of one item, its marker taken off, and where they end.
function readItem(lines, at, marker) {
  const indent = marker[1].length + marker[2].length + Math.min(Math.max(marker[3].length, 1), 4);
  // Models often indent by two what CommonMark wants three deep, below "1. ".
  const nested = (line) => width(line) >= marker[1].length + 2 && ITEM.test(line.trimStart());
  const inside = [lines[at].slice(indent)];
  let end = at + 1;
  for (; end < lines.length; ++end) {
    const line = lines[end];
    if (blank(line)) {
      // Two blank lines, or one and then nothing of the item's.
      const next = lines[end + 1];
      if (next === undefined || blank(next) || (width(next) < indent && !nested(next))) break;
      inside.push("");
    } else if (width(line) >= indent || nested(line)) {
      inside.push(unindent(line, indent));
    } else if (ITEM.test(line) || interrupts(line) || inside[inside.length - 1] === "") {
      break;
    } else {
      inside.push(line.trimStart());
    }
  }
  return { inside, end };
}

function readList(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  if (!first || depth >= DEEPEST) return null;
  const items = [];
  let loose = false;
  let end = at;
  for (let marker = first; marker && kind(marker[2]) === kind(first[2]) && !RULE.test(lines[end]);) {
    const item = readItem(lines, end, marker);
    items.push(item.inside);
    end = item.end;
    let next = end;
    while (next < lines.length && blank(lines[next])) next += 1;
    marker = next < lines.length ? ITEM.exec(lines[next]) : null;
    if (marker && next > end && kind(marker[2]) === kind(first[2])) {
      loose = true;
      end = next;
    } else if (next > end) {
      marker = null;
    }
  }
  loose ||= items.some((item) => item.some((line, i) => line === "" && i > 0 &&
    i < item.length - 1 && width(item[i + 1]) < 2 && !ITEM.test(item[i + 1])));
  return { end, node: () => listElement(first[2], items, loose, depth) };
}

function listElement(marker, items, loose, depth) {
  const ordered = /\d/.test(marker);
  const start = ordered ? parseInt(marker, 10) : 1;
  const list = el(ordered ? "ol" : "ul", { start: start === 1 ? undefined : start });
  for (const lines of items) {
    const item = el("li");
    const task = /^\[([ xX])\] +(?=\S)/.exec(lines[0]);
    if (task) lines[0] = lines[0].slice(task[0].length);
    appendBlocks(item, lines, depth + 1);
    if (!loose) unwrapParagraphs(item);
    if (task) {
      item.classList.add("task");
      item.prepend(el("input", { type: "checkbox", disabled: true, checked: task[1] !== " ",
        "aria-label": task[1] === " " ? "to do" : "done" }));
    }
    list.append(item);
  }
  return list;
}

function unwrapParagraphs(item) {
  for (const child of [...item.children]) {
    if (child.tagName === "P") child.replaceWith(...child.childNodes);
  }
}

function cells(line) {
  const text = line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  return text.split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, "|"));
}

function readTable(lines, at) {
  const rule = lines[at + 1];
  if (rule === undefined || !lines[at].includes("|") || !TABLE_RULE.test(rule)) return null;
  const head = cells(lines[at]);
  const align = cells(rule).map((cell) =>
    (cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : undefined));
  if (align.length !== head.length) return null;
  let end = at + 2;
  while (end < lines.length && !blank(lines[end]) && !interrupts(lines[end])) end += 1;
  const rows = lines.slice(at + 2, end).map(cells);
  const row = (texts, name) => el("tr", {}, head.map((_, i) =>
    appendInline(el(name, { class: align[i] && `align-${align[i]}` }), texts[i] ?? "")));
  return { end, node: () => el("div", { class: "table-scroll", tabindex: "0" }, el("table", {},
    el("thead", {}, row(head, "th")), el("tbody", {}, rows.map((texts) => row(texts, "td"))))) };
}

function readParagraph(lines, at) {
  let end = at + 1;
  let level = 0;
  for (; end < lines.length && !blank(lines[end]); ++end) {
    const underline = /^ {0,3}(=+|-+)[ \t]*$/.exec(lines[end]);
    if (underline) {
      level = underline[1][0] === "=" ? 2 : 3;
      break;
    }
    if (interrupts(lines[end])) break;
  }
  const text = lines.slice(at, end).map((line) => line.trimStart()).join("\n");
  const name = level > 0 ? `h${level}` : "p";
  return { end: level > 0 ? end + 1 : end, node: () => appendInline(el(name), text) };
}

const READERS = [readFence, readIndented, readHeading, readRule, readQuote, readList, readTable,
  readParagraph];

// The blocks of the lines as {from, end, node()}, in order.
function* blocksOf(lines, depth) {
  for (let at = 0; at < lines.length;) {
    if (blank(lines[at])) {
      at += 1;
      continue;
    }
    let block = null;
    for (const read of READERS) {
      block = read(lines, at, depth);
      if (block) break;
    }
    yield { ...block, from: at };
    at = block.end;
  }
}

function appendBlocks(parent, lines, depth) {
  for (const block of blocksOf(lines, depth)) parent.append(block.node());
  return parent;
}

const linesOf = (text) => text.replace(/\r\n?/g, "\n").split("\n");

// Shows `text` in `parent`, whose children are the blocks of an earlier text: those that still say
// the same stay, so that a growing answer costs its last block, and a selection survives.
export function showMarkdown(parent, text) {
  const lines = linesOf(text);
  const sources = parent.markdownSources ?? [];
  const now = [];
  for (const block of blocksOf(lines, 0)) {
    const source = lines.slice(block.from, block.end).join("\n");
    const i = now.push(source) - 1;
    const old = parent.children[i];
    if (sources[i] === source) continue;
    const node = block.node();
    if (old) old.replaceWith(node);
    else parent.append(node);
  }
  while (parent.children.length > now.length) parent.lastElementChild.remove();
  parent.markdownSources = now;
}
