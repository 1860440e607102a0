"""`upg run` itself, in the same rounds as the book's models: their figures must agree.

    scripts/bench --filter '^model/.*(tg128|pp512)' --phi4 0 --model four.upg \\
        --with "python3 bench/peers/upg_run.py four.upg"
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from book.program import Benchmark, serve  # noqa: E402

PROMPT, GENERATED = 512, 128


def upg_run(options, model: pathlib.Path, *words: str) -> dict:
    command = [options.upg, "run", model, "--json", "--ignore-eos", "-c", "1024", *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"upg run: {done.stderr.strip()}")
    return json.loads(done.stdout)


def text_of(options, model: pathlib.Path) -> str:
    """The start of the calibration text that has about PROMPT tokens."""
    text = (ROOT / "data/calibration.txt").read_text()
    each = 2_000 / upg_run(options, model, "-p", text[:2_000], "-n", "1")["prompt_tokens"]
    return text[: int(PROMPT * each)]


def prompt_runner(options, model: pathlib.Path) -> Callable[[int], float]:
    text = ""

    def run(iterations: int) -> float:
        nonlocal text
        text = text or text_of(options, model)
        return sum(PROMPT / upg_run(options, model, "-p", text, "-n", "1")["prompt_tokens_per_second"]
                   for _ in range(iterations))

    return run


def generation_runner(options, model: pathlib.Path) -> Callable[[int], float]:
    def run(iterations: int) -> float:
        return sum(GENERATED / upg_run(options, model, "-p", "Once", "-n", str(GENERATED + 1))["tokens_per_second"]
                   for _ in range(iterations))

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upg", type=pathlib.Path, default=ROOT / "build/release/src/cli/upg")
    parser.add_argument("models", nargs="+", type=pathlib.Path, metavar="FILE.upg")
    options = parser.parse_args()
    table = {}
    for model in options.models:
        for test, tokens, runner in ((f"pp{PROMPT}", PROMPT, prompt_runner), (f"tg{GENERATED}", GENERATED,
                                                                             generation_runner)):
            facts = {"model": f"upg run {model.name}", "test": test, "backend": "upg run",
                     "threads": str(len(os.sched_getaffinity(0))), "file_bytes": str(model.stat().st_size)}
            name = f"model/upg-run-{model.name}/{test}"
            row = Benchmark(name, facts, tokens, "tokens", [], f"model/{model.name}cpu")
            table[name] = row, runner(options, model)
    serve({}, table)


main()
