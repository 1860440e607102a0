"""Saved baselines: the figures of a run, and the program that they were measured with.

Keeping the program is what makes a comparison possible on a machine that is not the same from one hour to the next:
the old build is measured again, in turns with the new one.
"""

import pathlib
import shutil

from . import results
from .results import Book

PROGRAM, FIGURES = "benchmarks", "book.json"


def folder_of(root: pathlib.Path, name: str) -> pathlib.Path:
    if not name or "/" in name or name.startswith("."):
        raise SystemExit(f"baseline: found \"{name}\", allowed is a plain name")
    return root / name


def save(root: pathlib.Path, name: str, book: Book, program: pathlib.Path) -> None:
    target = folder_of(root, name)
    target.mkdir(parents=True, exist_ok=True)
    results.save(book, target / FIGURES)
    shutil.copy2(program, target / f"{PROGRAM}.part")
    (target / f"{PROGRAM}.part").rename(target / PROGRAM)


def load(root: pathlib.Path, name: str) -> tuple[Book, pathlib.Path | None]:
    """The figures, and the program if it is there."""
    source = folder_of(root, name)
    if not (source / FIGURES).exists():
        known = sorted(each.parent.name for each in root.glob(f"*/{FIGURES}"))
        raise SystemExit(f"baseline: found \"{name}\", allowed: {', '.join(known) or 'none is saved yet'}")
    program = source / PROGRAM
    return results.load(source / FIGURES), program if program.exists() else None
