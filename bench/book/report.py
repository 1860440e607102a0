"""The report: the same sections as one self-contained page and as Markdown."""

import html
import pathlib
from dataclasses import dataclass, field

from . import plots, results, tables
from .results import Book
from .tables import Table

HERE = pathlib.Path(__file__).resolve().parent


@dataclass
class Section:
    title: str
    words: str = ""
    tables: list[Table] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)
    folded: bool = False  # closed until it is asked for


def sections(book: Book, runs: list[dict]) -> list[Section]:
    found = [
        Section("Machine", " ".join(book.notes), [tables.machine(book), tables.limits(book)], [plots.bandwidth(book)]),
        Section("Against the baseline", f"Baseline {book.baseline}: {tables.verdicts(book)}.", tables.comparisons(book),
                [plots.comparison(book)]),
        Section("The first reports", "The project began with reports of a first design; their lines, measured here, "
                "beside the figures that they gave.", [tables.first_reports(book), tables.first_claims(book)],
                [plots.first_reports(book)]),
        Section("Cold start", "", [tables.starts(book)]),
        Section("Decompression", "", [tables.decompression(book)],
                [plots.shares(book, "decompression", "Decompression into memory"),
                 plots.distribution(book, "decompression")]),
        Section("Products", "", tables.products(book),
                [plots.roofline(book), plots.shares(book, "product", "Products with one vector",
                                                    lambda each: each.label("batch") == "1")]),
        Section("Scaling", "The claim is that time grows with the non-zeros and nothing else.",
                [tables.slopes(book), tables.scaling(book)],
                [plots.scaling(book), plots.distribution(book, "scaling")]),
        Section("Prime look-ups", "", [tables.primes(book)], [plots.distribution(book, "primes")]),
        Section("Whole models", "", [tables.models(book)], [plots.models(book)]),
        Section("Operations and coding", "", [tables.every(book, ("operation", "coding"))]),
        Section("Over commits", "Runs on this machine, oldest first.", [], [history(book, runs)]),
        Section("Lines through the samples", "", [], [plots.regressions(book)]),
        Section("Every benchmark", "", [tables.every(book)],
                [plots.distribution(book, "product"), plots.distribution(book, "model")], folded=True),
    ]
    return [each for each in map(without_what_is_empty, found) if each.tables or each.plots]


def history(book: Book, runs: list[dict]) -> str:
    """The last runs on this machine that measured any of what is followed."""
    names, cpu = plots.headline_names(book), book.machine.get("cpu", "")
    own = [run for run in runs if run["cpu"] == cpu and not run["results"].keys().isdisjoint(names)]
    return plots.over_commits(own[-30:], names) if len(own) > 1 else ""


def without_what_is_empty(section: Section) -> Section:
    kept = [tables.without_empty_columns(table) for table in section.tables if table.rows]
    return Section(section.title, section.words, kept, [plot for plot in section.plots if plot], section.folded)


def report_files(book: Book, runs: list[dict]) -> dict[str, str]:
    """Names and contents. `runs`: the history, this run at its end."""
    parts = sections(book, runs)
    return {"book.json": results.dump(book), "book.html": page(book, parts), "book.md": markdown(parts)}


# ---- the page

def page(book: Book, parts: list[Section]) -> str:
    links = "".join(f'<a href="#s{i}">{html.escape(part.title)}</a>' for i, part in enumerate(parts))
    body = "".join(section_html(i, part) for i, part in enumerate(parts))
    template = (HERE / "page.html").read_text()
    kind = "tiny sizes: figures mean nothing" if book.tiny else f"{book.machine.get('cpu', '')}, {book.date[:10]}"
    for name, value in (("STYLE", (HERE / "page.css").read_text()), ("SUBTITLE", html.escape(kind)), ("LINKS", links),
                        ("BODY", body)):
        template = template.replace(f"<!--{name}-->", value)
    return template


def section_html(index: int, part: Section) -> str:
    words = f"<p>{html.escape(part.words)}</p>" if part.words else ""
    drawn = "".join(f"<figure>{plot}</figure>" for plot in part.plots)
    inner = words + "".join(map(table_html, part.tables)) + drawn
    if part.folded:
        inner = folded(len(part.tables[0].rows), inner)
    return f'<section id="s{index}"><h2>{html.escape(part.title)}</h2>{inner}</section>'


def table_html(table: Table) -> str:
    title = f"<h3>{html.escape(table.title)}</h3>" if table.title else ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
    rows = "".join("<tr>" + "".join(map(cell_html, row, range(len(row)))) + "</tr>" for row in table.rows)
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    kind = ' class="facts"' if table.is_facts else ""
    head = f"<thead><tr>{head}</tr></thead>" if any(table.columns) else ""
    inner = f'{title}<div class="table"><table{kind}>{head}<tbody>{rows}</tbody></table></div>{note}'
    return folded(len(table.rows), inner) if table.folded else inner


def folded(rows: int, inner: str) -> str:
    return f"<details><summary>{rows} rows</summary>{inner}</details>"


def cell_html(cell: str, column: int) -> str:
    """A benchmark's name, which stands first, may be broken behind its slashes."""
    kind = f' class="{cell}"' if cell in ("improved", "regressed") else ""
    text = html.escape(cell)
    return f"<td{kind}>{text if column else text.replace('/', '/<wbr>')}</td>"


# ---- Markdown

def markdown(parts: list[Section]) -> str:
    return "# Benchmarks\n" + "".join(map(section_markdown, parts))


def section_markdown(part: Section) -> str:
    out = f"\n## {part.title}\n"
    if part.words:
        out += f"\n{part.words}\n"
    for table in part.tables:
        out += f"\n### {table.title}\n" if table.title else ""
        lines = [table.columns, ["---"] * len(table.columns), *table.rows]
        out += "\n" + "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        out += f"\n\n{table.note}\n" if table.note else "\n"
    return out
