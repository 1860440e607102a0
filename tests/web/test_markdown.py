"""Markdown as models write it, by the HTML that comes out, and the event-stream reader."""

import pytest

RENDER = """async (text) => {
  const { showMarkdown } = await import("./markdown.js");
  const box = document.createElement("div");
  showMarkdown(box, text);
  for (const node of box.querySelectorAll("button, svg, figcaption")) node.remove();
  for (const node of box.querySelectorAll("*")) {
    for (const one of ["title", "target", "rel", "tabindex"]) node.removeAttribute(one);
  }
  return box.innerHTML;
}"""

CASES = {
    "a *b* **c** ***d*** ~~e~~ `f`":
        "<p>a <em>b</em> <strong>c</strong> <em><strong>d</strong></em> <del>e</del> <code>f</code></p>",
    "snake_case_name and _em_ and 2*3*4": "<p>snake_case_name and <em>em</em> and 2<em>3</em>4</p>",
    "2 * 3 * 4 and **not closed": "<p>2 * 3 * 4 and **not closed</p>",
    "**a *b* c** and *a **b** c*":
        "<p><strong>a <em>b</em> c</strong> and <em>a <strong>b</strong> c</em></p>",
    "a\nb  \nc\\\nd": "<p>a\nb  <br>c<br>d</p>",
    "\\*no\\* &amp; &#65; &bad;": "<p>*no* &amp; A &amp;bad;</p>",
    "`` a`b `` and ` `": "<p><code>a`b</code> and <code> </code></p>",
    "[a *b*](https://x.example/(y) 'z') [no](x)":
        '<p><a href="https://x.example/(y)">a <em>b</em></a> [no](x)</p>',
    "see https://x.example/a_b_c.":
        '<p>see <a href="https://x.example/a_b_c">https://x.example/a_b_c</a>.</p>',
    "(https://x.example/)": '<p>(<a href="https://x.example/">https://x.example/</a>)</p>',
    "http:// and https://": "<p>http:// and https://</p>",
    "# A #\n## B\n### C ###x\nText\n---": "<h2>A</h2><h3>B</h3><h4>C ###x</h4><h3>Text</h3>",
    "#no\n\n***": "<p>#no</p><hr>",
    "- a\n- b\n  - c\n  - d\n- e": "<ul><li>a</li><li>b<ul><li>c</li><li>d</li></ul></li><li>e</li></ul>",
    "1. a\n   - b\n2. c": "<ol><li>a<ul><li>b</li></ul></li><li>c</li></ol>",
    "1. a\n  - b\n2. c": "<ol><li>a<ul><li>b</li></ul></li><li>c</li></ol>",
    "3) c\n4) d": '<ol start="3"><li>c</li><li>d</li></ol>',
    "- a\n\n- b": "<ul><li><p>a</p></li><li><p>b</p></li></ul>",
    "1. a\n\n   ```\n   x\n   ```\n2. b":
        '<ol><li><p>a</p><figure class="code"><pre><code>x</code></pre></figure></li>'
        '<li><p>b</p></li></ol>',
    "text\n- a\n1900 was\n2. no": "<p>text</p><ul><li>a\n1900 was</li></ul><ol start=\"2\"><li>no</li></ol>",
    "In\n1900. A year": "<p>In\n1900. A year</p>",
    "> a\nb\n>\n> c\n\nd": "<blockquote><p>a\nb</p><p>c</p></blockquote><p>d</p>",
    "```py\nx = 1  # <b>\n```\nafter":
        '<figure class="code"><pre><code>x = <span class="code-number">1</span>  '
        '<span class="code-comment"># &lt;b&gt;</span></code></pre></figure><p>after</p>',
    "~~~\n```\n~~~": '<figure class="code"><pre><code>```</code></pre></figure>',
    "```\nnot closed": '<figure class="code"><pre><code>not closed</code></pre></figure>',
    "a\n\n    indented\n\tcode": '<p>a</p><figure class="code"><pre><code>indented\ncode</code></pre></figure>',
    "| a | b |\n|:-:|--:|\n| 1 | `x\\|y` |\n| 2 |":
        '<div class="table-scroll"><table><thead><tr><th class="align-center">a</th>'
        '<th class="align-right">b</th></tr></thead><tbody><tr><td class="align-center">1</td>'
        '<td class="align-right"><code>x|y</code></td></tr><tr><td class="align-center">2</td>'
        '<td class="align-right"></td></tr></tbody></table></div>',
    "a | b\nno table": "<p>a | b\nno table</p>",
    "<b>x</b> <!-- y -->": "<p>&lt;b&gt;x&lt;/b&gt; &lt;!-- y --&gt;</p>",
    "": "",
    "\n\n \n": "",
}


@pytest.mark.parametrize("text", CASES)
def test_markdown(module_page, text):
    assert module_page.evaluate(RENDER, text) == CASES[text]


def test_text_may_be_shown_wherever_it_has_been_cut(module_page):
    text = "\n\n".join([*CASES, "![x](http://y/)", "<https://x.example/>", "a [b](c)"])
    shown = module_page.evaluate("""async (text) => {
      const { showMarkdown } = await import("./markdown.js");
      const box = document.createElement("div");
      for (let end = 0; end <= text.length; end += 1) showMarkdown(box, text.slice(0, end));
      return box.textContent.length;
    }""", text)
    assert shown > len(text) / 2


def test_growing_text_ends_as_the_whole_and_keeps_finished_blocks(module_page):
    text = "\n\n".join(CASES)
    same, kept = module_page.evaluate("""async (text) => {
      const { showMarkdown } = await import("./markdown.js");
      const [whole, grown] = [document.createElement("div"), document.createElement("div")];
      showMarkdown(grown, "first\\n\\nsecond");
      const first = grown.firstChild;
      showMarkdown(grown, "first\\n\\nsecond *more*");
      const kept = grown.firstChild === first;
      for (let end = 1; end <= text.length; end += 3) showMarkdown(grown, text.slice(0, end));
      showMarkdown(grown, text);
      showMarkdown(whole, text);
      return [grown.innerHTML === whole.innerHTML, kept];
    }""", text)
    assert same and kept


EVENTS = """async ([pieces]) => {
  const { serverEvents } = await import("./api.js");
  const stream = new ReadableStream({ start(controller) {
    for (const piece of pieces) controller.enqueue(new Uint8Array(piece));
    controller.close();
  } });
  const events = [];
  for await (const data of serverEvents(stream)) events.push(data);
  return events;
}"""


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_event_streams_cut_anywhere(module_page, end, size):
    lines = [": comment", "", "data: é🙂 one", "", "event: x", "data:two", "data: three", "id: 4", "",
             "data: ", "", "data: [DONE]", "", "data: not finished"]
    raw = end.join(lines).encode()
    pieces = [list(raw[at:at + size]) for at in range(0, len(raw), size)]
    assert module_page.evaluate(EVENTS, [pieces]) == ["é🙂 one", "two\nthree", "", "[DONE]"]
