#!/usr/bin/env python3
"""`transformers` loads what `upg decompress` writes.

    decompress_oracle.py --build FOLDER [--model books-12m]

raw: the same greedy tokens and logits as golden.json. 10x, in every element type: close to the source
in KL divergence. Needs requirements-oracle.txt; not part of CI.
"""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


def find_model(name):
    for place in (ROOT / "models", pathlib.Path(os.environ.get("UPG_TEST_MODELS", "/nowhere")),
                  ROOT.parent / "shared" / "models"):
        if (place / name / "config.json").exists():
            return place / name
    raise SystemExit(f"{name} is not here")


def load(folder):
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, torch_dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    return model.eval()


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def check_golden(model, tokenizer, cases):
    for case in cases:
        if isinstance(case["prompt"], str):
            assert tokenizer(case["prompt"], add_special_tokens=False).input_ids == case["ids"]
        else:  # a conversation
            assert tokenizer.apply_chat_template(case["prompt"], add_generation_prompt=True) == (
                case["ids"])
        logits = logits_of(model, case["ids"])[-1]
        error = (logits[case["top_ids"]] - torch.tensor(case["top_logits"])).abs().max()
        assert error < 1e-4, f"{case['prompt']!r}: logits differ by {error}"
        ids = list(case["ids"])
        for token in case["greedy"]:
            best = int(logits_of(model, ids)[-1].argmax())
            assert best == token, f"{case['prompt']!r}: {best}, not {token}"
            ids.append(best)


def divergence(source, model, cases):
    total, count = 0.0, 0
    for case in cases:
        ids = case["ids"] + case["greedy"]
        p = torch.log_softmax(logits_of(source, ids).double(), -1)
        q = torch.log_softmax(logits_of(model, ids).double(), -1)
        total += float((p.exp() * (p - q)).sum())
        count += len(ids)
    return total / count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--model", default="books-12m")
    options = parser.parse_args()
    upg, source = options.build / "src/cli/upg", find_model(options.model)
    cases = json.loads((source / "golden.json").read_text())["cases"]
    original = load(source)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)

        def run(*arguments):
            subprocess.run([upg, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)

        run("compress", source, "-o", folder / "raw.upg", "--profile", "raw")
        run("decompress", folder / "raw.upg", "-o", folder / "raw")
        check_golden(load(folder / "raw"), AutoTokenizer.from_pretrained(folder / "raw"), cases)
        print("raw: golden tokens and logits")
        run("compress", source, "-o", folder / "10x.upg")
        for dtype, kind in TYPES.items():
            run("decompress", folder / "10x.upg", "-o", folder / dtype, "--dtype", dtype)
            config = json.loads((folder / dtype / "config.json").read_text())
            assert config["torch_dtype"] == str(kind).removeprefix("torch."), config
            kl = divergence(original, load(folder / dtype), cases)
            print(f"10x as {dtype}: KL {kl:.4f}")
            assert 0.001 < kl < 0.5
    print("transformers loads them all")


if __name__ == "__main__":
    main()
