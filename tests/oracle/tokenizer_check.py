#!/usr/bin/env python3
"""Token ids against the `tokenizers` package, chat templates against jinja2.

20,000 texts for each of sixteen tokenizers: the bundled one, variants of it, and real vocabularies of
100,000 and 200,000 entries with the cl100k and o200k patterns.
"""

import argparse
import pathlib
import subprocess
import sys


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=20000)
    options = parser.parse_args()
    oracle = pathlib.Path(__file__).resolve().parent
    root = oracle.parent.parent
    commands = [
        [oracle / "tokenizer_templates.py", "--check",
         root / "tests/golden/tokenizer_chat_templates.json"],
        [oracle / "tokenizer_oracle.py", "--binary", options.build / "src/tokenizer/tokenizer_ids",
         "--model", root / "models/books-12m", "--count", str(options.count),
         "--work", options.build / "tokenizer-oracle"],
    ]
    return max(subprocess.run([sys.executable, *command]).returncode for command in commands)


if __name__ == "__main__":
    sys.exit(main())
