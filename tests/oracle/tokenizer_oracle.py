#!/usr/bin/env python3
"""Compares the ids of upg's tokenizer with those of the `tokenizers` package.

    tokenizer_oracle.py --binary build/release/src/tokenizer/tokenizer_ids \\
        --model models/books-12m [--count 20000] [--seed 1] [--only NAME]... [--work FOLDER]
    tokenizer_oracle.py --model models/books-12m --write-golden tests/golden/tokenizer_ids.json

Needs the packages of requirements-ci.txt and requirements-ci-data.txt. Exit status 1 and the first
differences when ids differ or when a text does not survive decode(encode(text)).
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import tokenizer_texts
import tokenizer_variants
import tokenizers

# decode(encode(text)) == text does not hold where the tokenizer itself changes text.
LOSSY = {"phi4_flags", "added_flags", "gpt2_prefix_space", "qwen2_nfc", "missing_bytes",
         "cl100k_phi4", "llama3"}
# The package decodes an added token as if it were in the byte alphabet: "é" becomes half a character.
OWN_DECODING = {"added_flags"}
# PCRE2 knows the characters of its own version's Unicode, which may be older than the package's.
OLD_CHARACTERS = {"unknown_pattern"}


def run_ours(binary, file, inputs):
    stream = b"".join(len(text).to_bytes(4, "little") + text for text in inputs)
    result = subprocess.run([binary, file], input=stream, stdout=subprocess.PIPE, check=True)
    for line in result.stdout.decode().split("\n")[:-1]:
        ids, text = line.split("\t", 1)
        yield [int(i) for i in ids.split()], json.loads(text)


def compare(name, binary, file, seed, count):
    """The number of texts that differ."""
    theirs = tokenizers.Tokenizer.from_file(str(file))
    added = theirs.get_added_tokens_decoder().values()
    specials = [token.content for token in added]
    old = name in OLD_CHARACTERS
    made = tokenizer_texts.texts(seed, count, specials)
    inputs = [(tokenizer_texts.only_old(t) if old else t).encode() for t in made]
    inputs += [] if old else list(tokenizer_texts.byte_texts(seed + 1, count // 20))
    texts = [data.decode("utf-8", "replace") for data in inputs]
    expected = theirs.encode_batch(texts)
    wrong = 0
    for text, want, (ids, back) in zip(texts, expected, run_ours(binary, file, inputs), strict=True):
        decoded = theirs.decode(want.ids, skip_special_tokens=False)
        broken = name not in LOSSY and back != text
        if ids == want.ids and (back == decoded or name in OWN_DECODING) and not broken:
            continue
        wrong += 1
        if wrong <= 5:
            shown = [repr(v)[:300] for v in (text, want.ids, decoded, ids, back)]
            print("{}: {}\n  tokenizers {} {}\n  upg        {} {}".format(name, *shown))
    print(f"{name}: {len(texts)} texts, {wrong} differ", flush=True)
    return wrong


def write_golden(path, variants, seed):
    """A small file for the C++ tests: for each variant what differs from the bundled tokenizer, and
    the ids of a few texts."""
    golden = []
    for name, data in variants.items():
        if name == "missing_bytes":  # has another model
            continue
        theirs = tokenizers.Tokenizer.from_str(json.dumps(data))
        specials = [token.content for token in theirs.get_added_tokens_decoder().values()]
        made = tokenizer_texts.texts(seed, 2000, specials)
        old = [tokenizer_texts.only_old(t) for t in made]
        texts = [t for t in old if len(t.encode()) < 160][:80]
        cases = [[text, theirs.encode(text).ids] for text in texts]
        members = {k: v for k, v in data.items() if k != "model"}
        golden.append({"name": name, "members": json.dumps(members, ensure_ascii=False)[1:-1],
                       "exact": name not in LOSSY, "cases": cases})
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in golden)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary")
    parser.add_argument("--model", required=True, help="folder with the bundled tokenizer.json")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--work", help="where the derived tokenizers are kept between runs")
    parser.add_argument("--write-golden", type=pathlib.Path)
    args = parser.parse_args()
    if args.write_golden:
        bundled = tokenizer_variants.load_bundled(args.model)
        return write_golden(args.write_golden, tokenizer_variants.small_variants(bundled), args.seed)
    work = pathlib.Path(args.work or tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    variants = tokenizer_variants.small_variants(tokenizer_variants.load_bundled(args.model))
    real = ("cl100k_phi4", "llama3", "o200k")
    if any(not (work / f"{name}.json").exists() for name in real):
        variants.update(tokenizer_variants.real_variants())
    for name, data in variants.items():
        text = json.dumps(data, ensure_ascii=False)
        (work / f"{name}.json").write_text(text, encoding="utf-8")
    names = args.only or [*dict.fromkeys([*variants, *real])]
    wrong = [compare(n, args.binary, work / f"{n}.json", args.seed, args.count) for n in names]
    sys.exit(1 if any(wrong) else 0)


if __name__ == "__main__":
    main()
