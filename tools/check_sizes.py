#!/usr/bin/env python3
"""No source file above 600 lines, little conditional compilation. Widths are clang-format's."""

import pathlib
import re
import sys

MAX_LINES = 600
MAX_CONDITIONALS_PER_1000 = 3
CONDITIONAL = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b", re.MULTILINE)
SUFFIXES = {".cc", ".h", ".cu", ".cuh", ".py"}


def main() -> int:
    root = pathlib.Path(__file__).resolve().parent.parent
    found, lines_total, conditionals = [], 0, 0
    for folder in ("src", "include", "tests", "tools", "bench"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SUFFIXES:
                continue
            text = path.read_text()
            lines = text.splitlines()
            where = path.relative_to(root)
            if len(lines) > MAX_LINES:
                found.append(f"{where}: {len(lines)} lines, allowed are {MAX_LINES}")
            if path.suffix != ".py":
                lines_total += len(lines)
                conditionals += len(CONDITIONAL.findall(text))
    rate = 1000 * conditionals / max(lines_total, 1)
    if rate > MAX_CONDITIONALS_PER_1000:
        found.append(f"{rate:.1f} conditionals in 1,000 lines, not {MAX_CONDITIONALS_PER_1000}")
    print("\n".join(found) if found else f"sizes are within bounds ({lines_total} lines of C++)")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
