// Colours for code: comments, strings, numbers and the commonest keywords, by family of languages.
// One pass of one expression; what it does not know stays plain.

import { el } from "./dom.js";

const LONGEST = 40000;  // characters; longer code stays plain

const KEYWORDS = {
  c: "abstract as async await auto bool boolean break case catch char class const constexpr continue " +
    "default defer delete do double else enum export extends extern false final float fn for from func " +
    "function go if impl implements import in int interface internal let long match mod module mut " +
    "namespace new nil null nullptr of operator override package private protected pub public return " +
    "self short signed sizeof static struct super switch template this throw throws trait true try type " +
    "typedef typename typeof undefined union unsigned use using val var virtual void where while yield",
  hash: "and as assert async await begin break case class continue def del do done echo elif else elsif " +
    "end ensure esac except exit export false False fi finally for from function global if import in is " +
    "lambda let local module None nil nonlocal not or pass puts raise rescue return self set super then " +
    "true True try unless until while with yield null require",
  dash: "add all alter and as asc between by case create data delete desc distinct do drop else elseif " +
    "end exists false for from full function group having if in index inner insert instance into is join " +
    "key left let like limit local module nil not null of on or order outer primary repeat return right " +
    "select set table then true type union unique until update values view when where while with",
};
const COMMENTS = { c: /\/\/.*|\/\*[^]*?(?:\*\/|$)/, hash: /#.*/, dash: /--.*|\/\*[^]*?(?:\*\/|$)/ };
const FAMILIES = {
  hash: "py python rb ruby sh bash shell zsh console yaml yml toml ini r perl make makefile cmake " +
    "dockerfile elixir julia nim",
  dash: "sql lua haskell hs ada elm",
  none: "text txt plain plaintext output html xml markdown md diff",
};

const familyOf = (language) => Object.keys(FAMILIES).find((name) =>
  FAMILIES[name].split(" ").includes(language.toLowerCase())) ?? (language ? "c" : "none");

const rules = new Map();

function ruleOf(family) {
  if (!rules.has(family)) {
    const words = KEYWORDS[family].split(" ").join("|");
    const strings = /"""[^]*?(?:"""|$)|"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?|`(?:[^`\\]|\\[^])*`?/;
    const numbers = /\b\d[\w.]*/;
    const flags = family === "dash" ? "gi" : "g";
    rules.set(family, new RegExp(`(?<comment>${COMMENTS[family].source})|(?<string>${strings.source})|` +
      `(?<number>${numbers.source})|(?<keyword>\\b(?:${words})\\b)`, flags));
  }
  return rules.get(family);
}

// Appends `text` to `code`, an empty element.
export function highlight(code, text, language) {
  const family = familyOf(language);
  if (family === "none" || text.length > LONGEST) {
    code.append(text);
    return;
  }
  let at = 0;
  for (const found of text.matchAll(ruleOf(family))) {
    const [kind] = Object.entries(found.groups).find(([, value]) => value !== undefined);
    code.append(text.slice(at, found.index), el("span", { class: `code-${kind}` }, found[0]));
    at = found.index + found[0].length;
  }
  code.append(text.slice(at));
}
