#!/usr/bin/env python3
"""Runs every fuzz target of a build folder for some seconds, from the seeds in tests/fuzz/TARGET.

A finding is kept as BUILD/fuzz-findings/TARGET-*; add it to the seeds with the fix.
"""

import argparse
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys


def run(target: pathlib.Path, seeds: pathlib.Path, build: pathlib.Path, seconds: int) -> tuple[bool, str]:
    corpus = build / "fuzz-corpus" / target.name
    findings = build / "fuzz-findings"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(exist_ok=True)
    if seeds.is_dir():
        for seed in seeds.iterdir():
            shutil.copy(seed, corpus / f"seed-{seed.name}")
    command = [
        target, corpus, f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048",
        "-malloc_limit_mb=1024", "-max_len=65536", "-print_final_stats=1",
        f"-artifact_prefix={findings}/{target.name}-",
    ]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace")
    runs = [line.split()[-1] for line in result.stderr.splitlines() if "number_of_executed" in line]
    state = "ok" if result.returncode == 0 else "FAILED"
    report = [f"{target.name:32} {state}  {runs[0] if runs else '?'} inputs"]
    if result.returncode != 0:
        report += result.stderr.splitlines()[-60:]
    return result.returncode == 0, "\n".join(report)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--only", default="", help="part of a target's name")
    options = parser.parse_args()
    root = pathlib.Path(__file__).resolve().parent.parent
    targets = sorted(
        path for path in options.build.rglob("*_fuzz")
        if path.is_file() and options.only in path.name
    )
    if not targets:
        print(f"no fuzz targets in {options.build}", file=sys.stderr)
        return 1
    seeds = root / "tests" / "fuzz"
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        good = []
        for fine, report in pool.map(lambda t: run(t, seeds / t.name, options.build, options.seconds), targets):
            good.append(fine)
            print(report, flush=True)
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
