"""The options of scripts/bench. Needs nothing but Python, so that help and mistakes come before any building."""

import argparse
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
STATE = ROOT / "build/bench"  # models, baselines, history, and the report unless told otherwise

FAMILIES = "limit, start, decompression, product, first_design, python, scaling, primes, operation, coding, model"
WORDS = """The benchmark book: how fast every part of upg is on this machine, beside what the machine allows.
docs/benchmarks.md explains what is measured and how to read it."""
STATUS = """exit status: 0 done; 1 a benchmark regressed; 2 something is wrong; 130 or 143 stopped, nothing was written"""


def pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"found \"{text}\", allowed is a regular expression: {error}") from error
    return text


def number(kind, least: float):
    """A reader of numbers that are at least so large."""

    def read(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = least - 1
        if not least <= value < float("inf"):
            words = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"found \"{text}\", allowed is {words} of at least {least:g}")
        return value

    return read


def existing(text: str) -> pathlib.Path:
    if not pathlib.Path(text).exists():
        raise argparse.ArgumentTypeError(f"{text}: no such file or folder")
    return pathlib.Path(text)


def baseline_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", text):
        raise argparse.ArgumentTypeError(f"found \"{text}\", allowed are letters, digits, and . _ + - behind the first")
    return text


def saved_baseline(text: str) -> str:
    known = sorted(path.parent.name for path in (STATE / "baselines").glob("*/book.json"))
    if text not in known:
        raise argparse.ArgumentTypeError(f"found \"{text}\", allowed: {', '.join(known) or 'none is saved yet'}")
    return text


def add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tiny", action="store_true", help="small sizes, few samples: does everything work?")
    parser.add_argument("--all", action="store_true", help="every shape, codec, backend and batch")
    parser.add_argument("--filter", default="", type=pattern, metavar="REGEX",
                        help=f"benchmarks with this in their names; families: {FAMILIES}")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--model", type=existing, action="append", default=[],
                        help="a further UPG file or checkpoint folder to start and run (repeatable)")
    parser.add_argument("--phi4", type=number(int, 0), default=4, metavar="LAYERS",
                        help="layers of a random model of Phi-4's shapes to run: 40 is all of it, 5.6 GB on disk; "
                             "0: none (default: 4, 1.0 GB)")
    parser.add_argument("--with", dest="programs", action="append", default=[], metavar="COMMAND",
                        help="a further program to measure in the same rounds: a peer (repeatable)")
    parser.add_argument("-t", "--threads", type=number(int, 0), default=0, help="default: the physical cores")


def add_how(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=number(int, 1), help="samples of each benchmark, at least (default: 10)")
    parser.add_argument("--seconds", type=number(float, 0), default=900,
                        help="no further rounds after that, once each has its least number (default: 900)")
    parser.add_argument("--noise", type=number(float, 0), default=5, metavar="PERCENT",
                        help="that are no change (default: 5)")
    parser.add_argument("--save-baseline", type=baseline_name, metavar="NAME",
                        help="keep figures and program for later comparison")
    parser.add_argument("--baseline", type=saved_baseline, metavar="NAME",
                        help="compare with it; exit 1 on a regression")
    parser.add_argument("--unpaired", action="store_true",
                        help="compare with the baseline's saved figures only, not with its program in turns")
    parser.add_argument("--slow", default="", metavar="PART",
                        help="benchmarks with this in their name are slowed down: shows that it is noticed")
    parser.add_argument("--slow-percent", type=number(float, 0), default=15, metavar="PERCENT",
                        help="by so much (default: 15)")


def read_arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=WORDS, epilog=STATUS,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add_what(parser.add_argument_group("what is measured"))
    add_how(parser.add_argument_group("how it is judged"))
    parser.add_argument("-o", "--output", type=pathlib.Path, default=STATE / "report", metavar="FOLDER",
                        help="for book.html, book.md, book.json (default: build/bench/report)")
    parser.add_argument("--include", type=existing, action="append", default=[], metavar="BOOK.JSON",
                        help="show the rows of a run on another machine too (repeatable)")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release", help=argparse.SUPPRESS)
    return parser.parse_args(words)


if __name__ == "__main__":
    read_arguments()
