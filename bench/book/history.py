"""One line a run in history.jsonl: what the plots over commits are drawn from."""

import json
import pathlib

from .results import Book


def summary(book: Book) -> dict:
    rows = {}
    for result in book.results:
        if result.machine or result.benchmark.is_limit or not result.estimate:
            continue
        median = result.estimate.median
        rows[result.name] = {"seconds": median.value, "low": median.low, "high": median.high,
                             "share": result.share.value if result.share else None}
    return {"commit": book.commit, "date": book.date, "cpu": book.machine.get("cpu", ""), "results": rows}


def append(book: Book, path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        file.write(json.dumps(summary(book)) + "\n")


def load(path: pathlib.Path) -> list[dict]:
    """Oldest first; lines that are cut off are left out."""
    runs = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            runs.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return runs
