"""Saved baselines: the figures of a run, and the program that they were measured with.

Keeping the program is what makes a comparison possible on a machine that is not the same from one hour to the next:
the old build is measured again, in turns with the new one.
"""

import pathlib
import shutil

from . import results
from .results import Book

PROGRAM, FIGURES = "benchmarks", "book.json"


def save(root: pathlib.Path, name: str, book: Book, program: pathlib.Path) -> None:
    target = root / name
    target.mkdir(parents=True, exist_ok=True)
    results.save(book, target / FIGURES)
    shutil.copy2(program, target / f"{PROGRAM}.part")
    (target / f"{PROGRAM}.part").rename(target / PROGRAM)


def load(root: pathlib.Path, name: str) -> tuple[Book, pathlib.Path | None]:
    """The figures, and the program if it is there."""
    program = root / name / PROGRAM
    return results.load(root / name / FIGURES), program if program.exists() else None
