"""The model files that are started and run when no others are asked for."""

import pathlib
import subprocess

from .program import ProgramError

BUNDLED = pathlib.Path("models/books-12m")


def run(*words) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode != 0:
        raise ProgramError(f"{words[0]}: {done.stderr.strip()}")


def make_models(options, folder: pathlib.Path) -> list[pathlib.Path]:
    """The bundled checkpoint, the same compressed, and a random model of Phi-4's shapes; made once."""
    folder.mkdir(parents=True, exist_ok=True)
    compressed = folder / "books-12m.upg"
    if not compressed.exists():
        run(options.build / "src/cli/upg", "compress", BUNDLED, "-o", compressed, "--calibrate", "none")
    found = [BUNDLED, compressed]
    if options.phi4 and not options.tiny:
        found.append(folder / f"phi4-{options.phi4}-layers.upg")
        if not found[-1].exists():
            run(options.build / "bench/make_random_upg", found[-1], "--layers", options.phi4, "--tokenizer", BUNDLED)
    return found
