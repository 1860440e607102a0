#!/usr/bin/env python3
"""Runs every oracle check that needs only the packages of requirements-ci.txt.

A check is tests/oracle/*_check.py or tests/end_to_end/*_check.py, a script that takes --build FOLDER and
exits 0 when all is well.
"""

import argparse
import concurrent.futures
import itertools
import os
import pathlib
import subprocess
import sys
import time


ALONE = ["resume_check.py"]  # kills runs at moments that it takes from how long one took


def run(check: pathlib.Path, build: pathlib.Path) -> tuple[bool, str]:
    begin = time.monotonic()
    done = subprocess.run([sys.executable, check, "--build", build.resolve()], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    good = done.returncode == 0
    return good, f"{done.stdout}-- {check.name}: {'ok' if good else 'FAILED'} ({time.monotonic() - begin:.0f} s)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="", help="part of a check's name")
    options = parser.parse_args()
    tests = pathlib.Path(__file__).resolve().parent.parent
    checks = sorted(tests.glob("oracle/*_check.py")) + sorted(tests.glob("end_to_end/*_check.py"))
    checks = [check for check in checks if options.only in check.name]
    failed = 0
    alone = [check for check in checks if check.name in ALONE]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        others = pool.map(lambda check: run(check, options.build), [c for c in checks if c not in alone])
        for good, report in itertools.chain(others, (run(check, options.build) for check in alone)):
            failed += not good
            print(report, flush=True)
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed or not checks else 0


if __name__ == "__main__":
    sys.exit(main())
