"""llama.cpp beside upg, in the same rounds: prompts and generation of models of Phi-4's shapes.

    python3 bench/peers/llama_cpp.py --make

goes from nothing to the table: builds the pinned llama.cpp (tools/compare_llama_cpp/build.sh) and upg, makes a random
checkpoint of four layers, compresses and quantises it (25 GB of disk, of which 7 stay), measures with scripts/bench and
prints its table. What is there already is kept. Any other model: give its GGUF files, measured in the same rounds:

    scripts/bench --filter model/ --model MINE.upg \\
        --with "build/llama_cpp/venv/bin/python bench/peers/llama_cpp.py MINE-Q4_0.gguf"

llama.cpp runs with its defaults: f16 cache, flash attention and repacked weights where it thinks best. Weights may be
random: speed does not depend on them.
"""

import argparse
import os
import pathlib
import random
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMPT, GENERATED = 512, 128
# Its threads look out for work a while after the last; they would take cores from whoever is measured next.
PATIENCE = 0.3


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--make", action="store_true", help="build, make the files, measure, print the table")
    parser.add_argument("--llama", type=pathlib.Path, default=ROOT / "build/llama_cpp",
                        help="the folder of build.sh (default: build/llama_cpp)")
    parser.add_argument("--types", default="Q2_K,IQ3_XXS,IQ3_S,Q3_K_M,Q4_0", help="default: %(default)s")
    parser.add_argument("--layers", type=int, default=4, help="of the random model (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="samples of each test, at least (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quantise", type=pathlib.Path, metavar="CHECKPOINT", help="as --make does it; no more")
    parser.add_argument("files", nargs="*", type=pathlib.Path, metavar="FILE.gguf")
    return parser.parse_args()


# ---- from nothing to the table

def do(what: str, *command) -> None:
    print(f"\n== {what}", file=sys.stderr, flush=True)
    if subprocess.run([str(word) for word in command], cwd=ROOT).returncode != 0:
        raise SystemExit(f"llama_cpp.py: {what}: failed")


def make_all(options) -> None:
    files = folder_of(options)
    files.mkdir(parents=True, exist_ok=True)
    checkpoint, compressed = files / "checkpoint", files / f"phi4-{options.layers}-layers.upg"
    release = ROOT / "build/release"
    python = options.llama / "venv/bin/python"
    do("building llama.cpp", "tools/compare_llama_cpp/build.sh", options.llama)
    do("building upg", "bash", "-c", 'source scripts/lib.sh; install "${build_packages[@]}" "${bench_packages[@]}"; '
       "configure release -DUPG_BENCH=ON; build release upg make_checkpoint")
    types = [kind for kind in options.types.split(",") if not (files / f"{kind}.gguf").exists()]
    if not (checkpoint / "config.json").exists() and (types or not compressed.exists()):
        do("making a checkpoint", release / "tools/make_checkpoint", checkpoint, "--layers", options.layers,
           "--tokenizer", "models/books-12m")
    if not compressed.exists():
        do("compressing", release / "src/cli/upg", "compress", checkpoint, "-o", compressed, "--calibrate", "none")
    if types:
        do("quantising", python, __file__, "--llama", options.llama, "--layers", options.layers,
           "--types", ",".join(types), "--quantise", checkpoint)
    shutil.rmtree(checkpoint, ignore_errors=True)
    measure(options, python, compressed)


def measure(options, python: pathlib.Path, compressed: pathlib.Path) -> None:
    files, report = compressed.parent, options.llama / "report"
    peers = [python, __file__, "--llama", options.llama, "--threads", options.threads,
             *(files / f"{kind}.gguf" for kind in options.types.split(","))]
    names = f"^model/({compressed.stem}|llama).*/(pp{PROMPT}|tg{GENERATED})$"
    do("measuring", "scripts/bench", "--phi4", 0, "--model", compressed, "--filter", names, "--rounds", options.rounds,
       "--threads", options.threads, "-o", report, "--with", shlex.join(map(str, peers)))
    print((report / "book.md").read_text().partition("## Whole models")[2].partition("\n## ")[0].strip())


def folder_of(options) -> pathlib.Path:
    return options.llama / f"phi4-{options.layers}-layers"


def quantise(options) -> None:
    from checkpoint_gguf import write_gguf

    files = folder_of(options)
    files.mkdir(parents=True, exist_ok=True)
    source = files / "f32.gguf"
    if not source.exists():
        write_gguf(options.quantise, source)
    for kind in options.types.split(","):
        partial = files / f"{kind}.part"
        run_tool(options, "llama-quantize", *importance(options, kind, source), source, partial, kind)
        partial.rename(files / f"{kind}.gguf")
        print(files / f"{kind}.gguf", file=sys.stderr)
    source.unlink()


def run_tool(options, name: str, *words) -> None:
    command = [options.llama / "build/bin" / name, *words]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise SystemExit(f"{name}: status {done.returncode}\n{done.stderr[-2000:]}")


def importance(options, kind: str, source: pathlib.Path) -> list:
    """llama.cpp refuses its smallest types without an importance matrix; for the speed any will do."""
    if not kind.startswith(("IQ", "Q2_K")):
        return []
    matrix = folder_of(options) / "imatrix.gguf"
    if not matrix.exists():
        run_tool(options, "llama-imatrix", "-m", source, "-f", ROOT / "data/calibration.txt", "-o", matrix, "-c", "512",
                 "--chunks", "2")
    return ["--imatrix", matrix]


# ---- measuring

class Model:
    """A file loaded by llama.cpp's library, with room for one sequence."""

    def __init__(self, library, path: pathlib.Path, threads: int):
        self.library = library
        model_parameters = library.llama_model_default_params()
        model_parameters.n_gpu_layers = 0
        self.model = library.llama_model_load_from_file(str(path).encode(), model_parameters)
        parameters = library.llama_context_default_params()
        parameters.n_ctx = PROMPT + GENERATED + 8
        parameters.n_batch = parameters.n_ubatch = PROMPT
        parameters.n_threads = parameters.n_threads_batch = threads
        self.context = library.llama_init_from_model(self.model, parameters)
        if not self.model or not self.context:
            raise SystemExit(f"{path}: llama.cpp cannot load it")
        self.batch = library.llama_batch_init(PROMPT, 0, 1)
        self.vocabulary = library.llama_vocab_n_tokens(library.llama_model_get_vocab(self.model))
        self.decode(0, 1)  # pages the weights in

    def clear(self) -> None:
        self.library.llama_memory_clear(self.library.llama_get_memory(self.context), True)

    def decode(self, past: int, count: int) -> None:
        self.batch.n_tokens = count
        for i in range(count):
            self.batch.token[i] = random.randrange(self.vocabulary)
            self.batch.pos[i] = past + i
            self.batch.n_seq_id[i] = 1
            self.batch.seq_id[i][0] = 0
            self.batch.logits[i] = i == count - 1
        if self.library.llama_decode(self.context, self.batch) != 0:
            raise SystemExit("llama_decode failed")
        self.library.llama_synchronize(self.context)

    def prompt(self) -> None:
        self.clear()
        self.decode(0, PROMPT)

    def generate(self) -> None:
        for i in range(GENERATED):
            self.decode(1 + i, 1)

    def start_generation(self) -> None:
        self.clear()
        self.decode(0, 1)

    def free(self) -> None:
        self.library.llama_batch_free(self.batch)
        self.library.llama_free(self.context)
        self.library.llama_model_free(self.model)


class Models:
    """The model that was asked for last stays loaded."""

    def __init__(self, library, threads: int):
        self.library = library
        self.threads = threads
        self.path: pathlib.Path | None = None
        self.model: Model | None = None

    def of(self, path: pathlib.Path) -> Model:
        if self.path != path:
            if self.model:
                self.model.free()
            self.model, self.path = Model(self.library, path, self.threads), path
        return self.model

    def runner(self, path: pathlib.Path, before: str, timed: str) -> Callable[[int], float]:
        def run(iterations: int) -> float:
            model, seconds = self.of(path), 0.0
            for _ in range(iterations):
                getattr(model, before)()
                begin = time.perf_counter()
                getattr(model, timed)()
                seconds += time.perf_counter() - begin
            time.sleep(PATIENCE)
            return seconds

        return run


def bytes_a_token(path: pathlib.Path) -> int:
    """All but the embedding table is read for a token."""
    import gguf

    return sum(int(tensor.n_bytes) for tensor in gguf.GGUFReader(path).tensors if tensor.name != "token_embd.weight")


def benchmarks(options, models: Models) -> dict:
    from book.program import Benchmark, Bound

    table = {}
    for path in options.files:
        label = f"llama.cpp {path.stem}"
        facts = {"model": label, "backend": "llama.cpp", "threads": str(options.threads),
                 "file_bytes": str(path.stat().st_size)}
        limit = Bound(f"limit/read/threads:{options.threads}", float(bytes_a_token(path) * GENERATED))
        for test, tokens, bounds, before, timed in (
                (f"pp{PROMPT}", PROMPT, [], "clear", "prompt"),
                (f"tg{GENERATED}", GENERATED, [limit], "start_generation", "generate")):
            name = f"model/{label.replace(' ', '-')}/{test}"
            row = Benchmark(name, {**facts, "test": test}, tokens, "tokens", bounds, f"model/{label}")
            table[name] = row, models.runner(path, before, timed)
    return table


def main() -> None:
    options = read_arguments()
    options.llama = options.llama.resolve()
    if options.make:
        return make_all(options)
    os.environ["LLAMA_CPP_LIB_PATH"] = str((options.llama / "build/bin").resolve())
    sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tools/compare_llama_cpp"), str(options.llama / "source")]
    if options.quantise:
        return quantise(options)
    import llama_cpp
    from libllama import say_nothing

    from book.program import serve

    llama_cpp.llama_log_set(say_nothing, None)
    serve({}, benchmarks(options, Models(llama_cpp, options.threads)))


if __name__ == "__main__":
    main()
