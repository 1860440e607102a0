"""The options of scripts/bench. Needs nothing but Python, so that help and mistakes come before any building."""

import argparse
import pathlib
import re

FAMILIES = "limit, start, decompression, product, first_design, python, scaling, primes, operation, coding, model"
WORDS = """The benchmark book: how fast every part of upg is on this machine, beside what the machine allows.
docs/benchmarks.md explains what is measured and how to read it."""


def pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"\"{text}\" is no regular expression: {error}") from error
    return text


def add_what(parser: argparse.ArgumentParser) -> None:
    path = pathlib.Path
    parser.add_argument("--tiny", action="store_true", help="small sizes, few samples: does everything work?")
    parser.add_argument("--all", action="store_true", help="every shape, codec, backend and batch")
    parser.add_argument("--filter", default="", type=pattern,
                        help=f"regular expression over names; families: {FAMILIES}")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--model", type=path, action="append", default=[],
                        help="a further UPG file or checkpoint folder to start and run (repeatable)")
    parser.add_argument("--phi4", type=int, default=4, metavar="LAYERS",
                        help="layers of a random model of Phi-4's shapes to run: 40 is all of it, 5.6 GB on disk; "
                             "0: none (default: 4, 1.0 GB)")
    parser.add_argument("--with", dest="programs", action="append", default=[], metavar="COMMAND",
                        help="a further program to measure in the same rounds: a peer (repeatable)")
    parser.add_argument("-t", "--threads", type=int, default=0, help="default: the physical cores")


def add_how(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, help="samples of each benchmark, at least (default: 10)")
    parser.add_argument("--seconds", type=float, default=900, help="no further rounds after that (default: 900)")
    parser.add_argument("--noise", type=float, default=5, help="percent that are no change (default: 5)")
    parser.add_argument("--save-baseline", metavar="NAME", help="keep figures and program for later comparison")
    parser.add_argument("--baseline", metavar="NAME", help="compare with it; exit 1 on a regression")
    parser.add_argument("--unpaired", action="store_true",
                        help="compare with the baseline's saved figures only, not with its program in turns")
    parser.add_argument("--slow", default="", metavar="PART",
                        help="benchmarks with this in their name are slowed down: shows that it is noticed")
    parser.add_argument("--slow-percent", type=float, default=15, help="by so much (default: 15)")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=WORDS,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add_what(parser.add_argument_group("what is measured"))
    add_how(parser.add_argument_group("how it is judged"))
    parser.add_argument("-o", "--output", type=pathlib.Path, default=pathlib.Path("build/bench/report"),
                        help="folder for book.html, book.md, book.json (default: build/bench/report)")
    parser.add_argument("--include", type=pathlib.Path, action="append", default=[], metavar="BOOK.JSON",
                        help="show the rows of a run on another machine too (repeatable)")
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/release"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    read_arguments()
