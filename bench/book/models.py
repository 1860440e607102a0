"""The model files that are started and run when no others are asked for."""

import pathlib
import shutil
import subprocess
from collections.abc import Callable

from .arguments import ROOT
from .program import ProgramError

BUNDLED = ROOT / "models/books-12m"


def run(*words) -> None:
    try:
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    except OSError as error:
        raise ProgramError(f"{words[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise ProgramError(f"{pathlib.Path(words[0]).name}: {done.stderr.strip() or f'status {done.returncode}'}")


def make(path: pathlib.Path, note: Callable[[str], None], *words) -> pathlib.Path:
    """The file, made by a command that is told where, unless it is there. A run that is stopped leaves nothing."""
    if path.exists():
        return path
    note(f"making {path.name}, once")
    making = path.parent / "making"
    making.mkdir(parents=True, exist_ok=True)
    try:
        run(*(making / path.name if word is path else word for word in words))
        (making / path.name).rename(path)
    finally:
        shutil.rmtree(making)
    return path


def make_models(options, folder: pathlib.Path, note: Callable[[str], None]) -> list[pathlib.Path]:
    """The bundled checkpoint, the same compressed, and a random model of Phi-4's shapes."""
    compressed = folder / "books-12m.upg"
    upg = options.build / "src/cli/upg"
    found = [BUNDLED, make(compressed, note, upg, "compress", BUNDLED, "-o", compressed, "--calibrate", "none")]
    if options.phi4 and not options.tiny:
        random = folder / f"phi4-{options.phi4}-layers.upg"
        found.append(make(random, note, options.build / "bench/make_random_upg", random, "--layers", options.phi4,
                          "--tokenizer", BUNDLED))
    return found
