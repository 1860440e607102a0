#!/usr/bin/env python3
"""Runs every oracle check that needs only the packages of requirements-ci.txt.

A check is tests/oracle/*_check.py or tests/end_to_end/*_check.py, a script that takes --build FOLDER and
exits 0 when all is well.
"""

import argparse
import pathlib
import subprocess
import sys
import time


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="", help="part of a check's name")
    options = parser.parse_args()
    tests = pathlib.Path(__file__).resolve().parent.parent
    checks = sorted(tests.glob("oracle/*_check.py")) + sorted(tests.glob("end_to_end/*_check.py"))
    checks = [check for check in checks if options.only in check.name]
    failed = 0
    for check in checks:
        begin = time.monotonic()
        result = subprocess.run([sys.executable, check, "--build", options.build.resolve()])
        state = "ok" if result.returncode == 0 else "FAILED"
        failed += result.returncode != 0
        print(f"-- {check.relative_to(tests)}: {state} ({time.monotonic() - begin:.0f} s)", flush=True)
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed or not checks else 0


if __name__ == "__main__":
    sys.exit(main())
