#!/usr/bin/env python3
"""Quality against size of one checkpoint under llama.cpp's types, and of UPG files beside them, all measured as
`upg eval --source` does: the same tokens, windows and means. See README.md.

    compare.py --llama FOLDER --upg build/release/src/cli/upg --work FOLDER \\
        --checkpoint models/books-12m --calibration data/calibration.txt --text TEXT FILE.upg ...
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np

from checkpoint_gguf import tensor_sizes, write_gguf
from measure import Scores, cut_windows

TYPES = "Q2_K,IQ3_XXS,Q3_K_S,IQ3_S,Q3_K_M,Q4_0,Q4_K_M"
SUPER_BLOCK = 256  # columns that most of llama.cpp's types want a multiple of
FALLBACK = re.compile(r"warning: (\S+)\s+- ncols\s+(\d+) not divisible .*required for type\s+(\w+)\).*"
                      r"falling back to\s+(\w+)")
# What both sides call a matrix of a layer.
LAYER_MATRIX = re.compile(r"(?:blk|model\.layers)\.\d+\..*\.weight")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    folder = pathlib.Path
    parser.add_argument("--llama", type=folder, required=True, help="what build.sh made")
    parser.add_argument("--upg", type=folder, required=True, help="the command")
    parser.add_argument("--work", type=folder, required=True, help="for GGUF files and the results")
    parser.add_argument("--checkpoint", type=folder, required=True)
    parser.add_argument("--calibration", type=folder, required=True, help="text for the importance matrix")
    parser.add_argument("--chunks", type=int, default=128, help="windows of it, from its start (%(default)s)")
    parser.add_argument("--text", type=folder, required=True, help="text to measure on")
    parser.add_argument("--windows", type=int, default=16, help="0: all (%(default)s)")
    parser.add_argument("--ctx", type=int, default=1024, help="tokens a window (%(default)s)")
    parser.add_argument("--types", default=TYPES, help="default: %(default)s")
    parser.add_argument("--pad", action="store_true",
                        help="pad the columns that no type divides with zeros: no fallbacks")
    parser.add_argument("--as-shipped", action="store_true",
                        help="also with embedding and head in the types llama.cpp gives them")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("files", nargs="*", type=folder, help="UPG files to list beside them")
    return parser.parse_args()


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run(command: list) -> str:
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise SystemExit(f"{command[0]}: status {done.returncode}\n{text[-2000:]}")
    return text


def upg_json(options, *arguments) -> dict:
    done = subprocess.run([options.upg, *map(str, arguments), "--json"], stdout=subprocess.PIPE)
    if done.returncode != 0:
        raise SystemExit(f"upg {arguments[0]}: status {done.returncode}")
    return json.loads(done.stdout)


def upg_eval(options, model: pathlib.Path, *more) -> dict:
    return upg_json(options, "eval", model, "--text", options.text, "--windows", options.windows,
                    "--ctx", options.ctx, "--threads", options.threads, *more)


# ---- making the files

def make_source(options) -> pathlib.Path:
    path = options.work / f"{options.checkpoint.resolve().name}{'-padded' if options.pad else ''}.gguf"
    if not path.exists():
        note(f"{path.name}: written from {options.checkpoint}")
        write_gguf(options.checkpoint, path, SUPER_BLOCK if options.pad else 1)
    return path


def make_importance(options, source: pathlib.Path) -> pathlib.Path:
    path = source.with_suffix(f".{options.calibration.stem}-{options.chunks}.imatrix")
    if not path.exists():
        note(f"{path.name}: importance from {options.chunks} windows of {options.calibration}")
        partial = source.with_suffix(".part")
        run([options.llama / "build/bin/llama-imatrix", "-m", source, "-f", options.calibration, "-o", partial,
             "--output-format", "gguf", "-c", options.ctx, "-b", options.ctx, "--chunks", options.chunks,
             "--no-ppl", "-t", options.threads])
        partial.rename(path)
    return path


def quantise(options, source, importance, kind: str, as_shipped: bool) -> tuple[pathlib.Path, list[dict]]:
    """The file, and its fallbacks: tensors whose columns the wanted type does not divide."""
    path = source.with_name(f"{source.stem}-{kind}{'-as-shipped' if as_shipped else ''}.gguf")
    keep = [] if as_shipped else ["--token-embedding-type", "f16", "--output-tensor-type", "f16"]
    said = run([options.llama / "build/bin/llama-quantize", "--imatrix", importance, *keep, source, path, kind,
                options.threads])
    names = ("tensor", "columns", "wanted", "used")
    return path, [dict(zip(names, found)) for found in FALLBACK.findall(said)]


# ---- measuring

def open_model(options, path: pathlib.Path):
    """The binding looks for its library when it is imported."""
    os.environ["LLAMA_CPP_LIB_PATH"] = str((options.llama / "build/bin").resolve())
    sys.path.append(str(options.llama / "source"))
    from libllama import Model
    return Model(path, options.ctx, options.threads)


def source_logits(options, path: pathlib.Path, windows: list[list[int]]) -> np.ndarray:
    """[window, token, vocabulary], in a file: it may be larger than memory."""
    with open_model(options, path) as model:
        shape = (len(windows), len(windows[0]), model.vocabulary)
        logits = np.memmap(options.work / "source-logits.f32", np.float32, "w+", shape=shape)
        for i, ids in enumerate(windows):
            logits[i] = model.logits(ids)
    return logits


def measure(options, path: pathlib.Path, windows: list[list[int]], source: np.ndarray) -> dict:
    scores = Scores()
    with open_model(options, path) as model:
        for ids, expected in zip(windows, source):
            scores.add(ids, model.logits(ids), expected)
    return scores.result()


def bits(tensors: list[dict], layers_only: bool = True) -> float:
    """Bits a weight of matrices, by the bytes they have."""
    chosen = [t for t in tensors if not layers_only or LAYER_MATRIX.fullmatch(t["name"])]
    return 8 * sum(t["bytes"] for t in chosen) / sum(t["weights"] for t in chosen)


def llama_row(options, source, importance, kind, as_shipped, windows, logits) -> dict:
    path, fallbacks = quantise(options, source, importance, kind, as_shipped)
    tensors = tensor_sizes(path)
    row = {"name": f"{kind}{', as shipped' if as_shipped else ''}", "layer_bits": bits(tensors),
           "all_bits": bits(tensors, False), "fallbacks": fallbacks, "tensors": tensors,
           **measure(options, path, windows, logits)}
    path.unlink()
    note(f"{row['name']}: {row['layer_bits']:.3f} bits, KL {row['kl']:.4f}")
    return row


def upg_row(options, path: pathlib.Path) -> dict:
    report = upg_json(options, "inspect", path)
    tensors = [{"name": t["name"], "type": t["codec"], "weights": t["rows"] * t["cols"], "bytes": t["bytes"]}
               for t in report["tensors"] if t["rows"] > 1]
    row = {"name": f"upg {path.stem}", "layer_bits": bits(tensors), "all_bits": bits(tensors, False),
           "layer_bits_at_5120": report["layer_bits_at_5120"], "fallbacks": [], "tensors": tensors,
           **upg_eval(options, path, "--source", options.checkpoint)}
    note(f"{row['name']}: {row['layer_bits']:.3f} bits, KL {row['kl']:.4f}")
    return row


# ---- is it the same measure?

def check_tokens(options, source: pathlib.Path) -> None:
    """llama.cpp cuts the calibration text into upg's tokens, or its importance is of something else."""
    ours = upg_json(options, "tokenize", options.checkpoint, "-f", options.calibration, "--no-special")["ids"]
    with open_model(options, source) as model:
        theirs = model.tokenize(options.calibration.read_bytes())
    if ours != theirs:
        raise SystemExit(f"{options.calibration}: {len(theirs)} tokens in llama.cpp, {len(ours)} in upg")


def check_perplexity(options, source_row: dict) -> None:
    """The unquantised model has the same perplexity in both programs, to four digits."""
    ours = upg_eval(options, options.checkpoint)["perplexity"]
    note(f"perplexity of the source: {ours:.4f} in upg, {source_row['source_perplexity']:.4f} in llama.cpp")
    if abs(source_row["source_perplexity"] / ours - 1) > 5e-5:
        raise SystemExit("the source's perplexity differs between upg and llama.cpp: nothing to compare")


# ---- the table

def fallback_text(fallbacks: list[dict]) -> str:
    """"8 of ffn_down: q3_K to q4_0" for each kind of tensor."""
    kinds = {}
    for fallback in fallbacks:
        tensor = fallback["tensor"].removesuffix(".weight").split(".")[-1]
        key = (tensor, fallback["wanted"], fallback["used"])
        kinds[key] = kinds.get(key, 0) + 1
    return "; ".join(f"{count} {tensor}: {wanted} → {used}"
                     for (tensor, wanted, used), count in kinds.items()) or "–"


def markdown(rows: list[dict]) -> str:
    lines = ["| | bits, layers | bits, all matrices | KL | perplexity | top-1 | fallbacks |",
             "|---|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: row["layer_bits"]):
        ratio = 100 * (row["perplexity"] / row["source_perplexity"] - 1)
        lines.append(f"| {row['name']} | {row['layer_bits']:.3f} | {row['all_bits']:.3f} | {row['kl']:.4f} | "
                     f"{ratio:+.2f} % | {100 * row['top1_agreement']:.1f} % | {fallback_text(row['fallbacks'])} |")
    return "\n".join(lines) + "\n"


def compare(options) -> list[dict]:
    ids = upg_json(options, "tokenize", options.checkpoint, "-f", options.text, "--no-special")["ids"]
    windows = cut_windows(ids, options.ctx, options.windows)
    source = make_source(options)
    check_tokens(options, source)
    importance = make_importance(options, source)
    logits = source_logits(options, source, windows)
    rows = [llama_row(options, source, importance, "F16", False, windows, logits)]
    check_perplexity(options, rows[0])
    for kind in options.types.split(","):
        rows.append(llama_row(options, source, importance, kind, False, windows, logits))
        if options.as_shipped:
            rows.append(llama_row(options, source, importance, kind, True, windows, logits))
    return rows + [upg_row(options, path) for path in options.files]


def main() -> None:
    options = read_arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    rows = compare(options)
    settings = {name: str(value) for name, value in vars(options).items() if name != "files"}
    name = f"{options.checkpoint.resolve().name}{'-padded' if options.pad else ''}"
    (options.work / f"{name}.json").write_text(json.dumps({"settings": settings, "rows": rows}, indent=1))
    (options.work / f"{name}.md").write_text(markdown(rows))
    print(markdown(rows), end="")


if __name__ == "__main__":
    main()
