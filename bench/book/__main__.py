"""Runs the benchmark book; scripts/bench builds what it needs and calls it."""

import datetime
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

from . import baselines, history, results, tables
from .arguments import ROOT, STATE, read_arguments
from .compare import compare_pairs, compare_sets
from .estimate import estimate, median_interval
from .models import make_models
from .program import BenchError, Program
from .report import report_files
from .results import Book, Result
from .sampling import Sampler, Settings, Subject, check_limits


def note(line: str) -> None:
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{clear}{line}", file=sys.stderr, flush=True)


# ---- what is measured

def program_of(options) -> pathlib.Path:
    return options.build / "bench" / "benchmarks"


def command_of(options, program: pathlib.Path) -> list[str]:
    command = [str(program), "--serve", "--threads", str(options.threads)]
    command += [flag for flag, wanted in (("--tiny", options.tiny), ("--all", options.all)) if wanted]
    return command + [word for model in options.model for word in ("--model", str(model))]


def programs_of(options) -> list[Program]:
    own = command_of(options, program_of(options))
    if options.slow:
        own += ["--slow", options.slow, "--slow-percent", str(options.slow_percent)]
    python = [sys.executable, str(ROOT / "bench" / "baseline_python")] + (["--tiny"] if options.tiny else [])
    return [Program(own), Program(python)] + [Program(shlex.split(command)) for command in options.programs]


def find_subjects(options) -> tuple[dict, list[Subject], dict[str, Subject]]:
    """The machine; the benchmarks that the filter leaves; the limits."""
    machine: dict = {}
    subjects: list[Subject] = []
    limits: dict[str, Subject] = {}
    for program in programs_of(options):
        facts, rows = program.list()
        program.close()
        machine = machine or facts
        for row in rows:
            if row.is_limit:
                limits[row.name] = Subject(row, program)
            elif re.search(options.filter, row.name):
                subjects.append(Subject(row, program))
    check_limits(subjects, limits)
    return machine, subjects, limits


def pair_with_baseline(options, program: pathlib.Path, subjects: list[Subject]) -> None:
    """Benchmarks that the baseline's program has too get it as their partner."""
    baseline = Program(command_of(options, program))
    _, rows = baseline.list()
    baseline.close()
    known = {row.name for row in rows}
    own = str(program_of(options))
    for subject in subjects:
        if subject.program.command[0] == own and subject.benchmark.name in known:
            subject.baseline = baseline


# ---- what follows from the samples

def conclude(result: Result, old: Result | None, noise: float) -> Result:
    samples = result.samples
    result.estimate = estimate([each.iterations for each in samples], [each.seconds for each in samples])
    if all(each.bound for each in samples):
        result.share = median_interval([each.bound / each.each for each in samples])
    if result.benchmark.is_limit:
        return result
    if samples[0].baseline:
        result.comparison = compare_pairs([each.seconds for each in samples],
                                          [each.baseline for each in samples], noise)
    elif old is not None and len(old.samples) > 1:
        result.comparison = compare_sets(against_limit(result), against_limit(old), noise)
    return result


def against_limit(result: Result) -> list[float]:
    """Times in units of what the machine allowed at that moment, where it has a limit."""
    return [each.each / (each.bound or 1.0) for each in result.samples]


def settings_of(options) -> Settings:
    settings = Settings(seconds=options.seconds)
    if options.tiny:
        settings = Settings(rounds=3, most_rounds=3, heavy_rounds=3, sample_seconds=0.002, seconds=options.seconds)
    settings.noise = options.noise / 100
    if options.rounds:
        settings.rounds = settings.heavy_rounds = options.rounds
        settings.most_rounds = max(settings.most_rounds, options.rounds)
    return settings


def git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def commit() -> str:
    return git("describe", "--always", "--dirty", "--abbrev=9") or "unknown"


def measure(options) -> Book:
    begin = time.monotonic()
    note("looking for what there is to measure")
    machine, subjects, limits = find_subjects(options)
    old, program = baselines.load(STATE / "baselines", options.baseline) if options.baseline else (None, None)
    notes = []
    if program and not options.unpaired:
        pair_with_baseline(options, program, subjects)
    elif old:
        notes.append("Compared with saved figures, not in turns with the baseline's program: what the machine's "
                     "neighbours did at the time counts as a change.")
    if not subjects:
        raise BenchError(f"--filter: found \"{options.filter}\", which no name contains; --list prints them")
    Sampler(subjects, limits, settings_of(options), note).run()
    measured = [each.result() for each in [*limits.values(), *subjects] if each.samples]
    rows = [conclude(row, old.find(row.name) if old else None, options.noise / 100) for row in measured]
    return Book(machine=machine, commit=commit(), command=shlex.join(["scripts/bench", *spoken_arguments()]),
                date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), tiny=options.tiny,
                seconds=time.monotonic() - begin, results=rows, baseline=options.baseline or "", notes=notes)


def spoken_arguments() -> list[str]:
    """Without what scripts/bench adds."""
    return [word for i, word in enumerate(sys.argv) if i > 0 and "--build" not in (word, sys.argv[i - 1])]


def include(book: Book, other: Book) -> None:
    """Rows of a run elsewhere; their names stay, their machine is named."""
    for result in other.results:
        result.machine = result.machine or other.where
        result.comparison = None
        book.results.append(result)
    book.machines += [other.facts(), *other.machines]


def print_verdicts(book: Book) -> None:
    for result in book.results:
        change = result.comparison
        if change and change.verdict != "no change":
            print(f"{change.verdict:10} {result.name}: time x {change.ratio:.3f} ({change.low:.3f} to {change.high:.3f})")
    print(f"against {book.baseline}: {tables.verdicts(book)}")


def write_all(files: dict[pathlib.Path, str]) -> None:
    """All of them, or none that is half written."""
    partial = {path: path.with_name(path.name + ".part") for path in files}
    try:
        for path, text in files.items():
            partial[path].write_text(text)
        for path in files:
            partial[path].rename(path)
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)


def run(options) -> int:
    options.output.mkdir(parents=True, exist_ok=True)
    others = [results.load(path) for path in options.include]
    options.model += make_models(options, STATE / "models", note)
    if options.list:
        _, subjects, limits = find_subjects(options)
        print("\n".join([*limits, *(each.benchmark.name for each in subjects)]))
        return 0
    book = measure(options)
    for other in others:
        include(book, other)
    runs = STATE / ("history-tiny.jsonl" if options.tiny else "history.jsonl")
    files = report_files(book, [*history.load(runs), history.summary(book)])
    write_all({options.output / name: text for name, text in files.items()})
    if not options.slow:
        history.append(book, runs)
    if options.save_baseline:
        baselines.save(STATE / "baselines", options.save_baseline, book, program_of(options))
    note(f"{options.output}/book.html, book.md, book.json: {len(book.results)} benchmarks, {book.seconds:.0f} s")
    if book.baseline:
        print_verdicts(book)
    return 1 if book.regressions() else 0


def main() -> int:
    options = read_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run(options)
    except BenchError as error:
        note(f"bench: {error}")
        return 2
    except OSError as error:
        note(f"bench: {error.filename}: {error.strerror}")
        return 2
    except KeyboardInterrupt:
        note("bench: interrupted, nothing was written")
        return 130
    finally:
        Program.stop_all()


if __name__ == "__main__":
    sys.exit(main())
