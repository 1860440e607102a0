"""In which order, how long and how often samples are taken.

The machine is shared and its memory's speed changes within seconds, so nothing that is compared is measured far
apart. A round visits every benchmark once, in random order; a visit takes the machine's limits if they have not been
looked at for half a second, then a few takes of this build and of the baseline in turns, whose medians are the round's
sample. Every round starts the programs anew: where memory happens to lie differs from process to process, and would
otherwise look like a change. Rounds go on for those benchmarks whose interval is still wide.
"""

import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .compare import NO_CHANGE, compare_pairs
from .estimate import median_interval
from .program import Benchmark, Program, ProgramError
from .results import Result, Sample

LIMIT_AGE = 0.5  # seconds after which a limit is measured again
TAKES = 3
LONG = 0.3  # seconds from which one take is a sample
HEAVY = 1.0  # a limit or benchmark whose sample takes longer is measured less often
STRETCHES = (1.0, 0.5, 1.5, 0.75, 1.25)  # of the usual number of iterations, round by round: for the line through them


@dataclass
class Settings:
    rounds: int = 10  # at least
    most_rounds: int = 30
    heavy_rounds: int = 8
    sample_seconds: float = 0.015  # of a take
    noise: float = 0.05  # a ratio to the baseline that is no change
    precision: float = 0.03  # half the interval's width, relative, at which a benchmark is done
    seconds: float = 900.0  # after which no further round is begun, once each benchmark has had its least number
    seed: int = 1


@dataclass
class Subject:
    """A benchmark, who runs it, and what has been measured."""

    benchmark: Benchmark
    program: Program
    baseline: Program | None = None
    iterations: int = 0
    sample_seconds: float = 0.0  # what a take takes
    samples: list[Sample] = field(default_factory=list)
    counters: dict[str, float] = field(default_factory=dict)

    @property
    def is_heavy(self) -> bool:
        return self.sample_seconds > HEAVY

    def result(self) -> Result:
        return Result(self.benchmark, self.samples, self.counters)


class Sampler:
    def __init__(self, subjects: list[Subject], limits: dict[str, Subject], settings: Settings,
                 note: Callable[[str], None]):
        self.subjects = subjects
        self.limits = limits
        self.settings = settings
        self.note = note
        self.random = random.Random(settings.seed)
        self.looked_at: dict[str, tuple[float, float]] = {}  # limit: when, seconds an iteration
        self.round = 0
        self.begin = time.monotonic()

    def run(self) -> None:
        self.begin = time.monotonic()
        active = list(self.subjects)
        while active:
            self.restart(active)
            self.visit_all(active)
            self.round += 1
            spent = time.monotonic() - self.begin
            active = [each for each in active if not self.is_done(each, spent)]
            if active:
                self.note(f"round {self.round}: {len(active)} benchmarks go on, {self.time_left(0)}")
        for program in self.programs(self.subjects):
            program.close()

    def programs(self, subjects: list[Subject]) -> list[Program]:
        """Theirs, and the limits'."""
        everyone = [*subjects, *self.limits.values()]
        programs = [each.program for each in everyone] + [each.baseline for each in everyone if each.baseline]
        return list({id(program): program for program in programs}.values())

    def restart(self, active: list[Subject]) -> None:
        programs = self.programs(active)
        self.random.shuffle(programs)
        for program in programs:
            program.start()
        self.looked_at.clear()

    # ---- a round

    def visit_all(self, active: list[Subject]) -> None:
        groups: dict[str, list[Subject]] = {}
        for subject in active:
            groups.setdefault(subject.benchmark.group, []).append(subject)
        names = list(groups)
        self.random.shuffle(names)
        for done, name in enumerate(names):
            for program in self.programs(active):
                program.ask("forget")
            self.random.shuffle(groups[name])
            for subject in groups[name]:
                self.progress(done / len(names), subject.benchmark.name)
                self.visit(subject)

    def progress(self, done: float, name: str) -> None:
        if sys.stderr.isatty():
            line = f"round {self.round + 1}: {100 * done:.0f} %, {self.time_left(done)}, {name}"
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{line[:width]}", end="", file=sys.stderr, flush=True)

    def time_left(self, done: float) -> str:
        """In words, from the pace so far; `done`: of this round. The first round sets up, so it seems longer."""
        spent, rounds = time.monotonic() - self.begin, self.round + done
        if rounds < 0.05:
            return "time left not yet known"
        least = (self.settings.rounds - rounds) * spent / rounds
        if least > 0:
            return f"about {duration(least)} left, more where samples scatter"
        most = (self.settings.most_rounds - rounds) * spent / rounds
        return f"at most {duration(max(0.0, min(most, self.settings.seconds - spent)) + spent / rounds)} left"

    def visit(self, subject: Subject) -> None:
        if subject.iterations == 0:
            self.calibrate(subject)
        iterations = max(1, round(subject.iterations * STRETCHES[self.round % len(STRETCHES)]))
        bound = self.bound(subject.benchmark)
        seconds, baseline = self.take_in_turns(subject, iterations)
        subject.samples.append(Sample(self.round, iterations, seconds, bound, baseline))

    def take_in_turns(self, subject: Subject, iterations: int) -> tuple[float, float]:
        """Seconds of this build and of the baseline, 0 without one. Each goes first as often as chance will have it."""
        own, other = [], []
        turns = [lambda: own.append(self.take(subject, iterations))]
        if subject.baseline:
            turns.append(lambda: other.append(subject.baseline.run(subject.benchmark.name, iterations)["seconds"]))
            self.random.shuffle(turns)
        for _ in range(1 if subject.sample_seconds > LONG else TAKES):
            for take in turns:
                take()
            turns.reverse()
        return statistics.median(own), statistics.median(other) if other else 0.0

    def take(self, subject: Subject, iterations: int) -> float:
        answer = subject.program.run(subject.benchmark.name, iterations)
        subject.counters.update(answer.get("counters", {}))
        return answer["seconds"]

    def calibrate(self, subject: Subject) -> None:
        """Iterations that take as long as a sample should; warms up on the way."""
        iterations, wanted = 1, self.settings.sample_seconds
        while True:
            seconds = max(subject.program.run(subject.benchmark.name, iterations)["seconds"], 1e-9)
            if seconds > wanted / 2:
                break
            iterations = min(iterations * 20, max(iterations + 1, int(iterations * wanted / seconds)))
        subject.iterations = max(1, round(iterations * wanted / seconds))
        subject.sample_seconds = seconds / iterations * subject.iterations

    # ---- limits

    def bound(self, benchmark: Benchmark) -> float:
        """Seconds that an iteration takes at least, by the slowest of its limits."""
        return max((bound.amount / self.limit_rate(bound.limit) for bound in benchmark.bounds), default=0.0)

    def limit_rate(self, name: str) -> float:
        subject = self.limits[name]
        when, each = self.looked_at.get(name, (float("-inf"), 0.0))
        stale = time.monotonic() - when > LIMIT_AGE
        if each == 0.0 or (stale and subject.sample_seconds < HEAVY / 2):
            if subject.iterations == 0:
                self.calibrate(subject)
            seconds = self.take(subject, subject.iterations)
            subject.samples.append(Sample(self.round, subject.iterations, seconds))
            each = seconds / subject.iterations
            self.looked_at[name] = (time.monotonic(), each)
        return subject.benchmark.amount / each

    # ---- when to stop

    def is_done(self, subject: Subject, spent: float) -> bool:
        taken, settings = len(subject.samples), self.settings
        if taken < (min(settings.heavy_rounds, settings.rounds) if subject.is_heavy else settings.rounds):
            return False
        if subject.is_heavy or taken >= settings.most_rounds or spent > settings.seconds:
            return True
        return is_settled(subject.samples, settings)


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def is_settled(samples: list[Sample], settings: Settings) -> bool:
    """The interval that the report will show is narrow, and its verdict agrees with the significance test's."""
    if samples[0].baseline:
        change = compare_pairs([each.seconds for each in samples], [each.baseline for each in samples], settings.noise)
        differs = change.low > 1 + settings.noise or change.high < 1 / (1 + settings.noise)
        return change.half_width < settings.precision * change.ratio and differs == (change.verdict != NO_CHANGE)
    interval = median_interval([each.each / (each.bound or 1.0) for each in samples])
    return interval.half_width < settings.precision * interval.value


def check_limits(subjects: list[Subject], limits: dict[str, Subject]) -> None:
    for subject in subjects:
        for bound in subject.benchmark.bounds:
            if bound.limit not in limits:
                raise ProgramError(f"{subject.benchmark.name}: its limit {bound.limit} is no benchmark")
