"""`upg run` itself beside the book's figures of whole models, which must agree.

    python3 bench/peers/upg_run.py --pairs 8 FILE.upg      takes turns with build/release/bench/benchmarks, prints ratios
    scripts/bench --filter '^model/.*/(tg128|first-pp512)' --phi4 0 --model FILE.upg \\
        --with "python3 bench/peers/upg_run.py FILE.upg"   in the book's rounds
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from book.program import Benchmark, Program, serve  # noqa: E402

TOKENS = {"first-pp512": 512, "tg128": 128}


def upg_run(options, model: pathlib.Path, *words: str) -> dict:
    command = [options.upg, "run", model, "--json", "--ignore-eos", "-c", "1024", *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"upg run: {done.stderr.strip()}")
    return json.loads(done.stdout)


def text_of(options, model: pathlib.Path) -> str:
    """The start of the calibration text that has about as many tokens as first-pp512."""
    text = (ROOT / "data/calibration.txt").read_text()
    each = 2_000 / upg_run(options, model, "-p", text[:2_000], "-n", "1")["prompt_tokens"]
    return text[: int(TOKENS["first-pp512"] * each)]


def prompt_runner(options, model: pathlib.Path) -> Callable[[int], float]:
    text = ""

    def run(iterations: int) -> float:
        nonlocal text
        text = text or text_of(options, model)
        return sum(TOKENS["first-pp512"] / upg_run(options, model, "-p", text, "-n", "1")["prompt_tokens_per_second"]
                   for _ in range(iterations))

    return run


def generation_runner(options, model: pathlib.Path) -> Callable[[int], float]:
    def run(iterations: int) -> float:
        tokens = TOKENS["tg128"]
        return sum(tokens / upg_run(options, model, "-p", "Once", "-n", str(tokens + 1))["tokens_per_second"]
                   for _ in range(iterations))

    return run


def runners(options, model: pathlib.Path) -> dict[str, Callable[[int], float]]:
    return {"first-pp512": prompt_runner(options, model), "tg128": generation_runner(options, model)}


def benchmarks(options) -> dict:
    table = {}
    for model in options.models:
        for test, runner in runners(options, model).items():
            facts = {"model": f"upg run {model.name}", "test": test, "backend": "upg run",
                     "threads": str(len(os.sched_getaffinity(0))), "file_bytes": str(model.stat().st_size)}
            name = f"model/upg-run-{model.name}/{test}"
            row = Benchmark(name, facts, TOKENS[test], "tokens", [], f"model/{model.name}cpu")
            table[name] = row, runner
    return table


def print_pairs(options) -> None:
    """Each pair side by side, so that what else the machine does falls out of its ratio."""
    for model in options.models:
        book = Program([options.benchmarks, "--serve", "--model", model])
        for test, run in runners(options, model).items():
            name = f"model/{model.name}/cpu/{test}"
            book.run(name, 1), run(1)  # warm
            pairs = [(TOKENS[test] / book.run(name, 1)["seconds"], TOKENS[test] / run(1)) for _ in range(options.pairs)]
            own, other = map(statistics.median, zip(*pairs))
            ratio = statistics.median(first / second for first, second in pairs)
            print(f"{model.name} {test}: book {own:,.1f}, upg run {other:,.1f} tokens a second; book over upg run, "
                  f"median of {options.pairs} pairs: {ratio:.3f}", flush=True)
        book.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    release = ROOT / "build/release"
    parser.add_argument("--upg", type=pathlib.Path, default=release / "src/cli/upg")
    parser.add_argument("--benchmarks", type=pathlib.Path, default=release / "bench/benchmarks")
    parser.add_argument("--pairs", type=int, default=0, help="print ratios of so many pairs, and stop")
    parser.add_argument("models", nargs="+", type=pathlib.Path, metavar="FILE.upg")
    options = parser.parse_args()
    if options.pairs:
        return print_pairs(options)
    serve({}, benchmarks(options))


main()
