#!/usr/bin/env python3
"""Includes follow the arrows of docs/architecture.md; every header says #pragma once."""

import pathlib
import re
import sys

# A folder and those it may include, itself aside.
ARROWS = {
    "base": set(),
    "format": {"base"},
    "codec": {"base"},
    "tokenizer": {"base"},
    "constrain": {"base"},
    "kernels": {"base", "codec"},
    "model": {"base", "codec", "format", "kernels"},
    "runtime": {"base", "codec", "format", "tokenizer", "kernels", "model"},
    "compress": {"base", "codec", "format", "tokenizer", "kernels", "model"},
    "server": {"base", "constrain", "tokenizer", "runtime"},
    "cli": {"base", "codec", "format", "tokenizer", "kernels", "model", "runtime", "compress",
            "server"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def problems(root: pathlib.Path) -> list[str]:
    found = []
    for path in sorted((root / "src").rglob("*")):
        if path.suffix not in {".cc", ".h", ".cu", ".cuh"}:
            continue
        text = path.read_text()
        folder = path.relative_to(root / "src").parts[0]
        where = path.relative_to(root)
        if folder not in ARROWS:
            found.append(f"{where}: folder {folder} is not on the map")
            continue
        if path.suffix == ".h" and "#pragma once" not in text:
            found.append(f"{where}: no #pragma once")
        for include in INCLUDE.findall(text):
            target = include.split("/")[0]
            ours = target in ARROWS and "/" in include
            if not ours or target == folder or target in ARROWS[folder]:
                continue
            found.append(f'{where}: includes "{include}", against the arrows')
    return found


def main() -> int:
    found = problems(pathlib.Path(__file__).resolve().parent.parent)
    print("\n".join(found) if found else "includes follow the arrows")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
