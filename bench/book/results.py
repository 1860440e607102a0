"""What a run found, as it is kept in book.json: every sample, and what follows from them."""

import dataclasses
import json
import pathlib
from dataclasses import dataclass, field

from .compare import Comparison
from .estimate import Estimate, Interval, Outliers
from .program import BenchError, Benchmark, Bound

FORMAT = 1


@dataclass
class Sample:
    round: int
    iterations: int
    seconds: float  # of all iterations
    bound: float = 0.0  # seconds that the machine's limits, measured just before, allow an iteration; 0: no limit
    baseline: float = 0.0  # seconds of all iterations of the baseline's program, measured beside; 0: none

    @property
    def each(self) -> float:
        return self.seconds / self.iterations


@dataclass
class Result:
    benchmark: Benchmark
    samples: list[Sample]
    counters: dict[str, float] = field(default_factory=dict)
    estimate: Estimate | None = None
    share: Interval | None = None  # of what the limits allow; 1 is the limit
    comparison: Comparison | None = None
    machine: str = ""  # empty: this one; else where an included file was measured

    @property
    def name(self) -> str:
        return self.benchmark.name

    @property
    def rate(self) -> float:
        """Of the benchmark's unit, a second."""
        return self.benchmark.amount / self.estimate.median.value

    def label(self, key: str) -> str:
        return self.benchmark.labels.get(key, "")


@dataclass
class Book:
    machine: dict
    commit: str
    date: str  # ISO 8601
    command: str
    tiny: bool
    seconds: float
    results: list[Result]
    baseline: str = ""
    notes: list[str] = field(default_factory=list)
    machines: list[dict] = field(default_factory=list)  # facts() of the runs elsewhere whose rows are included

    @property
    def where(self) -> str:
        """A short name for the machine: its GPU ("cuda:0 NVIDIA H200, 132 ..."), or its processor."""
        index, _, device = self.machine.get("device", "").partition(" ")
        return device.split(",")[0] if index.startswith("cuda:") else self.machine.get("cpu", "")

    def facts(self) -> dict:
        return {**self.machine, "name": self.where, "commit": self.commit, "date": self.date,
                "command": self.command, "seconds": self.seconds}

    def facts_of(self, result: Result) -> dict:
        """Of the machine that a result was measured on."""
        return next((facts for facts in self.machines if facts["name"] == result.machine), self.machine)

    def find(self, name: str) -> Result | None:
        return next((result for result in self.results if result.name == name and not result.machine), None)

    def family(self, name: str) -> list[Result]:
        return [result for result in self.results if result.benchmark.family == name]

    def regressions(self) -> list[Result]:
        return [each for each in self.results if each.comparison and each.comparison.verdict == "regressed"]


def dump(book: Book) -> str:
    return json.dumps({"format": FORMAT, **dataclasses.asdict(book)}, indent=1)


def save(book: Book, path: pathlib.Path) -> None:
    partial = path.with_suffix(".part")
    partial.write_text(dump(book))
    partial.rename(path)


def load(path: pathlib.Path) -> Book:
    try:
        data = json.loads(path.read_text())
        if data.pop("format") != FORMAT:
            raise ValueError("another version of the book wrote it")
        return Book(**{**data, "results": [result_of(row) for row in data["results"]]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path}: no benchmark book: {error}") from error


def optional(kind, data: dict | None):
    return None if data is None else kind(**data)


def result_of(data: dict) -> Result:
    benchmark = dict(data["benchmark"])
    benchmark["bounds"] = [Bound(**bound) for bound in benchmark["bounds"]]
    return Result(**{
        **data,
        "benchmark": Benchmark(**benchmark),
        "samples": [Sample(**sample) for sample in data["samples"]],
        "estimate": estimate_of(data["estimate"]),
        "share": optional(Interval, data["share"]),
        "comparison": optional(Comparison, data["comparison"]),
    })


def estimate_of(data: dict | None) -> Estimate | None:
    if data is None:
        return None
    return Estimate(**{
        **data,
        "median": Interval(**data["median"]),
        "mean": Interval(**data["mean"]),
        "slope": optional(Interval, data["slope"]),
        "outliers": Outliers(**data["outliers"]),
    })
