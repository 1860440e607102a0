"""What scripts/bench --tiny wrote: complete, self-contained, readable by its own reader."""

import html.parser
import pathlib
import re
import sys

from book import results

FAMILIES = {"limit", "start", "decompression", "product", "first_design", "python", "scaling", "primes", "operation",
            "coding", "model"}
VOID = {"meta", "link", "br", "img", "input", "hr", "wbr"}


class Page(html.parser.HTMLParser):
    """Elements that are open, and everything the page would fetch."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.drawings = 0

    def handle_starttag(self, tag, attributes):
        self.drawings += tag == "svg"
        self.fetched += [value for name, value in attributes
                         if name in ("src", "href", "xlink:href") and value and not value.startswith("#")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            raise SystemExit(f"book.html: </{tag}> closes nothing")


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    book = results.load(folder / "book.json")
    families = {result.benchmark.family for result in book.results}
    if families != FAMILIES:
        raise SystemExit(f"book.json: families {sorted(families ^ FAMILIES)} are missing or unknown")
    for result in book.results:
        if result.estimate.median.value <= 0 or not result.samples:
            raise SystemExit(f"book.json: {result.name} took no time")
    text = (folder / "book.html").read_text()
    page = Page()
    page.feed(text)
    if page.open or page.fetched or page.drawings < 8:
        raise SystemExit(f"book.html: open {page.open}, fetched {page.fetched}, {page.drawings} drawings")
    if "@import" in text or re.search(r"url\((?!#)", text):
        raise SystemExit("book.html: its style fetches something")
    if len(re.findall(r"^## ", (folder / "book.md").read_text(), re.M)) < 9:
        raise SystemExit("book.md: sections are missing")
    print(f"{folder}: {len(book.results)} benchmarks, {page.drawings} drawings")


main()
