"""A process that takes samples on request: the C++ benchmarks (bench/benchmarks.cc), the Python baseline, a peer.

One request a line on its standard input, one JSON object a line on its standard output:

    list                      {"machine": {...}, "benchmarks": [{name, labels, amount, unit, bounds, group}]}
    run ITERATIONS NAME       {"seconds": of all iterations, ...} or {"error": text}
    forget                    {}: what was kept between benchmarks is dropped
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar


class BenchError(Exception):
    """What the outside gets wrong: a file, an option, a program. One line for the user."""


class ProgramError(BenchError):
    """A program could not be started, or said something that is no answer."""


@dataclass
class Bound:
    """An iteration needs this much of what the benchmark `limit` counts."""

    limit: str
    amount: float


@dataclass
class Benchmark:
    name: str
    labels: dict[str, str]
    amount: float  # of `unit` an iteration
    unit: str
    bounds: list[Bound] = field(default_factory=list)
    group: str = ""

    @property
    def family(self) -> str:
        return self.name.split("/")[0]

    @property
    def is_limit(self) -> bool:
        return self.family == "limit"


class Program:
    running: ClassVar[set["Program"]] = set()

    def __init__(self, command: list[str]):
        self.command = [str(word) for word in command]
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.close()
        try:  # A session of its own: the terminal's Ctrl-C is for us, who then stop it.
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                            start_new_session=True)
        except OSError as error:
            raise ProgramError(f"{self.command[0]}: {error.strerror}") from error
        Program.running.add(self)

    def close(self) -> None:
        """It ends when nobody asks any more."""
        if self.process is None:
            return
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.process = None
        Program.running.discard(self)

    @classmethod
    def stop_all(cls) -> None:
        """Whatever they are at."""
        for program in list(cls.running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.process.pid, signal.SIGKILL)
            with contextlib.suppress(BrokenPipeError):
                program.close()

    def ask(self, request: str) -> dict:
        if self.process is None:
            self.start()
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise ProgramError(f"{self.command[0]}: has ended") from error
        line = self.process.stdout.readline()
        if not line:
            raise ProgramError(f"{self.command[0]}: ended at \"{request}\"")
        try:
            return json.loads(line)
        except json.JSONDecodeError as error:
            raise ProgramError(f"{self.command[0]}: \"{line.strip()}\" is no JSON") from error

    def list(self) -> tuple[dict, list[Benchmark]]:
        """The machine, and what can be measured."""
        answer = self.ask("list")
        rows = [Benchmark(**{**row, "bounds": [Bound(**bound) for bound in row["bounds"]]})
                for row in answer["benchmarks"]]
        return answer["machine"], rows

    def run(self, name: str, iterations: int) -> dict:
        answer = self.ask(f"run {iterations} {name}")
        if "error" in answer:
            raise ProgramError(answer["error"])
        return answer


def serve(machine: dict, benchmarks: dict[str, tuple[Benchmark, Callable[[int], float]]]) -> None:
    """The other end, for programs in Python. Each benchmark comes with a function that runs so many iterations
    and returns their seconds."""
    for line in sys.stdin:
        print(json.dumps(answer(line.split(maxsplit=2), machine, benchmarks)), flush=True)


def answer(words: list[str], machine: dict, benchmarks: dict) -> dict:
    if words == ["list"]:
        rows = [{**vars(row), "bounds": [vars(bound) for bound in row.bounds]} for row, _ in benchmarks.values()]
        return {"machine": machine, "benchmarks": rows}
    if words == ["forget"]:
        return {}
    if len(words) == 3 and words[0] == "run" and words[1].isdecimal() and words[2].strip() in benchmarks:
        _, run = benchmarks[words[2].strip()]
        return {"seconds": run(int(words[1])), "iterations": int(words[1])}
    return {"error": f"{' '.join(words)}: allowed are list, forget, run ITERATIONS NAME"}
