"""llama.cpp beside upg, in the same rounds: prompt and generation of GGUF files, for scripts/bench --with.

Its folder is what tools/compare_llama_cpp/build.sh made; Python is that folder's, which has its packages:

    build/llama_cpp/venv/bin/python bench/peers/llama_cpp.py --llama build/llama_cpp --make CHECKPOINT \\
        --types Q4_0,IQ3_XXS --work build/llama_cpp/files          # quantises; once
    scripts/bench --filter model/ --with "build/llama_cpp/venv/bin/python bench/peers/llama_cpp.py \\
        --llama build/llama_cpp build/llama_cpp/files/Q4_0.gguf build/llama_cpp/files/IQ3_XXS.gguf"

llama.cpp runs with its defaults: f16 cache, flash attention and repacked weights where it thinks best. Weights may be
random: speed does not depend on them.
"""

import argparse
import os
import pathlib
import random
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
    parser.add_argument("--llama", type=pathlib.Path, required=True, help="the folder of build.sh")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--make", type=pathlib.Path, metavar="CHECKPOINT", help="quantise it and stop")
    parser.add_argument("--types", default="Q2_K,IQ3_XXS,IQ3_S,Q3_K_M,Q4_0", help="default: %(default)s")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/llama_cpp/files"))
    parser.add_argument("files", nargs="*", type=pathlib.Path, metavar="FILE.gguf")
    return parser.parse_args()


# ---- files

def make_files(options) -> None:
    from checkpoint_gguf import write_gguf

    options.work.mkdir(parents=True, exist_ok=True)
    source = options.work / "f32.gguf"
    if not source.exists():
        write_gguf(options.make, source)
    for kind in options.types.split(","):
        target = options.work / f"{kind}.gguf"
        if not target.exists():
            run_tool(options, "llama-quantize", *importance(options, kind, source), source, target, kind)
        print(target)


def run_tool(options, name: str, *words) -> None:
    command = [options.llama / "build/bin" / name, *words]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise SystemExit(f"{name}: status {done.returncode}\n{done.stderr[-2000:]}")


def importance(options, kind: str, source: pathlib.Path) -> list:
    """llama.cpp refuses its smallest types without an importance matrix; for the speed any will do."""
    if not kind.startswith(("IQ", "Q2_K")):
        return []
    matrix = options.work / "imatrix.gguf"
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
    os.environ["LLAMA_CPP_LIB_PATH"] = str((options.llama / "build/bin").resolve())
    sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tools/compare_llama_cpp"), str(options.llama / "source")]
    if options.make:
        return make_files(options)
    import llama_cpp
    from libllama import say_nothing

    from book.program import serve

    llama_cpp.llama_log_set(say_nothing, None)
    serve({}, benchmarks(options, Models(llama_cpp, options.threads)))


if __name__ == "__main__":
    main()
