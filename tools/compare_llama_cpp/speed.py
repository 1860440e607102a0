"""Prompt and generation speed of llama.cpp's types and of upg, in turns, on the same checkpoint and threads.

  speed.py --llama FOLDER --checkpoint CHECKPOINT --work FOLDER --bench build/release/bench/model_bench FILE.upg

Each round runs every file once: a prompt of --context random tokens from scratch, then --tokens tokens one by one
after it. The table has each file's best round; the rounds go into speed.json. llama.cpp runs with its defaults (f16
cache, flash attention where it thinks best). Weights may be random: speed does not depend on them.
"""

import argparse
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--llama", type=pathlib.Path, required=True, help="the folder of build.sh")
parser.add_argument("--checkpoint", type=pathlib.Path, required=True)
parser.add_argument("--work", type=pathlib.Path, required=True)
parser.add_argument("--bench", type=pathlib.Path, required=True, help="upg's model_bench")
parser.add_argument("--types", default="Q4_0,IQ3_XXS,Q3_K_S")
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--context", type=int, default=512)
parser.add_argument("--tokens", type=int, default=24)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE.upg")
arguments = parser.parse_args()

os.environ["LLAMA_CPP_LIB_PATH"] = str((arguments.llama / "build" / "bin").resolve())
sys.path.insert(0, str(arguments.llama / "source"))

import llama_cpp  # noqa: E402

from checkpoint_gguf import write_gguf  # noqa: E402
from libllama import say_nothing  # noqa: E402


def quantised(type_name: str) -> pathlib.Path:
    target = arguments.work / f"{type_name}.gguf"
    if target.exists():
        return target
    source = arguments.work / "f32.gguf"
    if not source.exists():
        write_gguf(arguments.checkpoint, source)
    run_tool("llama-quantize", *importance(type_name), source, target, type_name)
    return target


def run_tool(name: str, *words) -> None:
    subprocess.run([arguments.llama / "build" / "bin" / name, *words], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def importance(type_name: str) -> list:
    """llama.cpp refuses its smallest types without an importance matrix; for the speed any will do."""
    if not type_name.startswith("IQ"):
        return []
    matrix = arguments.work / "imatrix.gguf"
    if not matrix.exists():
        text = pathlib.Path(__file__).parents[2] / "data" / "calibration.txt"
        run_tool("llama-imatrix", "-m", quantised("Q4_0"), "-f", text, "-o", matrix, "-c", "512", "--chunks", "2")
    return ["--imatrix", matrix]


def measure_llama(path: pathlib.Path) -> tuple[float, float]:
    """Tokens a second: prompt, generation."""
    llama_cpp.llama_log_set(say_nothing, None)
    model_parameters = llama_cpp.llama_model_default_params()
    model_parameters.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_parameters)
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = arguments.context + arguments.tokens + 8
    parameters.n_batch = parameters.n_ubatch = arguments.context
    parameters.n_threads = parameters.n_threads_batch = arguments.threads
    context = llama_cpp.llama_init_from_model(model, parameters)
    if not model or not context:
        raise SystemExit(f"{path}: llama.cpp cannot load it")
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    batch = llama_cpp.llama_batch_init(arguments.context, 0, 1)

    def decode(past: int, count: int) -> float:
        batch.n_tokens = count
        for i in range(count):
            batch.token[i] = random.randrange(vocabulary)
            batch.pos[i] = past + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = i == count - 1
        begin = time.perf_counter()
        if llama_cpp.llama_decode(context, batch) != 0:
            raise SystemExit(f"{path}: llama_decode failed")
        llama_cpp.llama_synchronize(context)
        return time.perf_counter() - begin

    decode(0, 1)  # pages the weights in
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    prompt = decode(0, arguments.context)
    seconds = sorted(decode(arguments.context + i, 1) for i in range(arguments.tokens))
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return arguments.context / prompt, 1 / seconds[len(seconds) // 2]


def measure_upg(path: pathlib.Path) -> tuple[float, float]:
    text = subprocess.run([arguments.bench, path, "--threads", str(arguments.threads), "--context",
                           str(arguments.context), "--tokens", str(arguments.tokens), "--batch", "1"],
                          check=True, capture_output=True, text=True).stdout
    prompt = re.search(r"^prompt .* ([\d.]+) tok/s", text, re.M)
    generation = re.search(r"^context .* ([\d.]+) tok/s", text, re.M)
    return float(prompt[1]), float(generation[1])


def main() -> None:
    arguments.work.mkdir(parents=True, exist_ok=True)
    runs = {str(path): (path, measure_upg) for path in arguments.files}
    for name in arguments.types.split(","):
        runs[name] = (quantised(name), measure_llama)
    rounds = {name: [] for name in runs}
    for _ in range(arguments.rounds):
        for name, (path, measure) in runs.items():
            rounds[name].append(measure(path))
    (arguments.work / "speed.json").write_text(json.dumps(rounds, indent=1))
    print("| file | MB | prompt tok/s | generation tok/s |\n|---|---|---|---|")
    for name, (path, _) in runs.items():
        prompt = max(run[0] for run in rounds[name])
        generation = max(run[1] for run in rounds[name])
        print(f"| {pathlib.Path(name).name} | {path.stat().st_size / 1e6:.0f} | {prompt:.1f} | {generation:.2f} |")


main()
