"""Model text is text: whatever it says, no markup, no script, no request, no frozen page."""

import pytest
from playwright.sync_api import expect

from conftest import answered, send

ATTACKS = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked=1'>",
    "<svg/onload=window.hacked=1>",
    "<iframe src='javascript:parent.hacked=1'></iframe>",
    "<a href='javascript:window.hacked=1'>x</a>",
    "</p></article><script>window.hacked=1</script>",
    "[x](javascript:window.hacked=1)",
    "[x](JaVaScRiPt:window.hacked=1)",
    "[x](java\nscript:window.hacked=1)",
    "[x](&#106;avascript:window.hacked=1)",
    "[x](\u0001javascript:window.hacked=1)",
    "[x](data:text/html,<script>window.hacked=1</script>)",
    "[x](vbscript:hacked) [y](file:///etc/passwd) [z](blob:x) [w](//evil.example/x)",
    "<javascript:window.hacked=1>",
    "![x](https://evil.example/pixel.png)",
    "![x](x\" onerror=\"window.hacked=1)",
    "[x](https://a.example/\" onmouseover=\"window.hacked=1)",
    "`<img src=x onerror=window.hacked=1>`",
    "```html\n<script>window.hacked=1</script>\n```",
    "```\"><script>window.hacked=1</script>\ncode\n```",
    "| <img src=x onerror=window.hacked=1> | b |\n|--|--|\n| <script>window.hacked=1</script> | d |",
    "# <img src=x onerror=window.hacked=1>",
    "- <script>window.hacked=1</script>\n> <style>*{display:none}</style>",
    "&lt;script&gt;window.hacked=1&lt;/script&gt;",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.hacked=1>",
    "<form action='https://evil.example'><input autofocus onfocus=window.hacked=1>",
    "<link rel=stylesheet href=https://evil.example/x.css><base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "${window.hacked=1} {{constructor.constructor('window.hacked=1')()}}",
    "__proto__ [constructor](constructor) ```__proto__\nx\n```",
]
ALLOWED = {"P", "H2", "H3", "H4", "H5", "H6", "UL", "OL", "LI", "BLOCKQUOTE", "HR", "BR", "EM", "STRONG",
           "DEL", "CODE", "PRE", "A", "FIGURE", "FIGCAPTION", "SPAN", "BUTTON", "SVG", "PATH", "DIV",
           "TABLE", "THEAD", "TBODY", "TR", "TH", "TD", "INPUT"}
OUTLINE = """() => [...document.querySelectorAll(".turn-assistant .turn-body *")].map((node) => ({
  name: node.tagName.toUpperCase(), protocol: node.protocol ?? "",
  handlers: [...node.attributes].filter((one) => /^on|^style$|^src$/i.test(one.name)).length }))"""


def check_outline(page):
    for node in page.evaluate(OUTLINE):
        assert node["name"] in ALLOWED, node
        assert node["handlers"] == 0, node
        assert node["protocol"] in ("", "http:", "https:", "mailto:"), node
    assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize("in_pieces", [False, True])
def test_attacks_stay_text(page, mock, in_pieces):
    text = "\n\n".join(ATTACKS)
    mock.answers = [list(text) if in_pieces else [text]]
    send(page, "attack")
    answered(page)
    page.wait_for_timeout(200)
    check_outline(page)
    shown = page.inner_text(".turn-assistant .turn-body")
    assert "<script>window.hacked = 1</script>" in shown
    assert "<img src=x onerror='window.hacked=1'>" in shown


def test_a_hostile_user_text_and_title_stay_text(page, mock):
    send(page, ATTACKS[1])
    answered(page)
    expect(page.locator(".entry-title")).to_have_text(ATTACKS[1])
    expect(page.locator(".turn-user .turn-body")).to_have_text(ATTACKS[1])
    assert page.evaluate("window.hacked") is None


def test_a_hostile_error_and_hostile_props_stay_text(watched, mock):
    mock.props["id"] = ATTACKS[1]
    mock.props["model"]["backend"] = ATTACKS[0]
    mock.props["tensors"][0]["name"] = ATTACKS[2]
    mock.props["tensors"][0]["codec"] = ATTACKS[4]
    page = watched.open(mock.url + "#model")
    page.wait_for_selector(".chart")
    expect(page.locator("#model-view")).to_contain_text(ATTACKS[0])
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.querySelectorAll('#model-view :is(img, script, a)').length") == 0


def test_links_open_elsewhere_and_tell_nothing(page, mock):
    mock.answers = [["[a](https://a.example/x?y=1) <https://b.example> https://c.example/d. "
                     "mail <mailto:e@example.org>, ![alt](https://f.example/g.png)"]]
    send(page, "links")
    answered(page)
    links = page.evaluate("""() => [...document.querySelectorAll(".turn-assistant a")].map((link) =>
      [link.href, link.target, link.rel])""")
    assert [link[0] for link in links] == [
        "https://a.example/x?y=1", "https://b.example/", "https://c.example/d",
        "mailto:e@example.org", "https://f.example/g.png"]
    assert all(link[1:] == ["_blank", "noopener noreferrer nofollow"] for link in links)


# What makes slow or deep parsers fall over.
HEAVY = {
    "open emphasis": "*a " * 20000, "nested emphasis": "*a " * 5000 + "a* " * 5000,
    "mixed runs": "*_~~**__" * 6000, "long run": "*" * 50000 + "a" + "*" * 50000,
    "brackets": "[" * 30000, "closed brackets": "[" * 15000 + "a" + "](b)" * 15000,
    "images": "![" * 20000, "links": "[a](" * 20000, "quotes": ">" * 20000,
    "quotes down": "\n".join(">" * depth + " a" for depth in range(300)),
    "lists": "\n".join("  " * depth + "- a" for depth in range(300)), "item marks": "- " * 20000,
    "ticks": "".join("`" * length + " " for length in range(1, 300)), "hashes": "# " + "#" * 50000 + "x",
    "spaces": "a" + " " * 50000 + "b", "dots": "https://a.example/" + "." * 50000 + "x",
    "backslashes": "\\" * 50000, "entities": "&#1;&#x110000;&amp" * 5000, "pipes": "|" * 20000 + "\n|-|",
    "table": "|a|b|\n|-|-|\n" + "|c|d|\n" * 3000, "rules": "- - - - " * 8000 + "x",
    "fences": "```\n" * 5000, "code": "```js\n" + "/*" * 15000 + "\n```", "breaks": "a  \n" * 10000,
    "paragraphs": "a\n\n" * 4000, "numbers": "1. a\n" * 4000, "one word": "x" * 200000,
    "nul": "a\0b\u202ec\ud7ff\ufeff", "emoji": "👩‍👩‍👧‍👦" * 3000,
}
RENDER = """async (text) => {
  const { showMarkdown } = await import("./markdown.js");
  const box = document.createElement("div");
  document.body.append(box);
  const begin = performance.now();
  showMarkdown(box, text);
  const took = performance.now() - begin;
  let depth = 0;
  for (const node of box.querySelectorAll("*")) {
    let now = 0;
    for (let up = node; up !== box; up = up.parentNode) now += 1;
    depth = Math.max(depth, now);
    if (now > 2000) break;
  }
  box.remove();
  return { took, depth };
}"""


@pytest.mark.parametrize("name", HEAVY)
def test_heavy_text_is_quick_and_shallow(module_page, name):
    result = module_page.evaluate(RENDER, HEAVY[name])
    assert result["took"] < 3000
    assert result["depth"] < 500
