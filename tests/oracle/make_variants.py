#!/usr/bin/env python3
"""Makes tests/golden/model_variants: a tiny random checkpoint and its logits for each architecture.

    pip install -r tests/oracle/requirements-oracle.txt
    python tests/oracle/make_variants.py [--only NAME] [-o FOLDER]

Every variant is a transformers configuration with random weights, saved as transformers saves it, and
golden.json: for some prompts the logits of every position, computed by transformers in float32 with
eager attention. src/model/variants_test.cc compares. Seeds are fixed: a second run writes the same files.

`planned` is the context a sequence is opened with. It matters for longrope alone: transformers picks
the factors by the current length of the sequence, this project by the planned one. A prompt that is run
whole, with planned = its length, means the same in both.
"""

import argparse
import json
import pathlib
import shutil

import torch
import transformers
from transformers import (LlamaConfig, MistralConfig, Phi3Config, Qwen2Config, Qwen3Config)

LONG = 40  # tokens of the long prompt

BASE = dict(vocab_size=80, hidden_size=64, intermediate_size=56, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
            tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def factors(count, low, high):
    return [round(low + (high - low) * i / (count - 1), 4) for i in range(count)]


# name: (configuration class, its fields beyond BASE, stored dtype, prompt lengths)
VARIANTS = {
    "phi3": (Phi3Config, dict(rope_theta=250000.0, rms_norm_eps=1e-5), "bfloat16", [LONG]),
    # 20 of 32 dimensions turn; the context it was first made for is 16.
    "phi3_longrope": (Phi3Config, dict(
        hidden_size=64, num_attention_heads=2, num_key_value_heads=1, intermediate_size=56,
        partial_rotary_factor=0.625, original_max_position_embeddings=16, tie_word_embeddings=True,
        sliding_window=262144,
        rope_scaling={"type": "longrope", "short_factor": factors(10, 1.0, 1.3),
                      "long_factor": factors(10, 1.0, 9.0)}), "bfloat16", [16, LONG]),
    "phi3_window": (Phi3Config, dict(sliding_window=7), "float16", [LONG]),
    "llama": (LlamaConfig, dict(hidden_size=40, num_attention_heads=5, num_key_value_heads=1,
                                intermediate_size=36), "float32", [LONG]),
    # Waves between 16 and 64 positions are blended, longer ones stretched: there are some of each.
    "llama3": (LlamaConfig, dict(
        max_position_embeddings=512, hidden_size=48, head_dim=32, num_attention_heads=3, num_key_value_heads=1, rope_theta=500000.0,
        rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                      "high_freq_factor": 4.0, "original_max_position_embeddings": 64}),
        "bfloat16", [LONG]),
    "llama_tied": (LlamaConfig, dict(tie_word_embeddings=True, num_key_value_heads=4), "bfloat16",
                   [LONG]),
    "qwen2": (Qwen2Config, dict(rms_norm_eps=1e-6, rope_theta=1e6), "bfloat16", [LONG]),
    # The number is there, the flag says that it does not count.
    "qwen2_window_off": (Qwen2Config, dict(
        rms_norm_eps=1e-6, rope_theta=1e6, use_sliding_window=False, sliding_window=8,
        max_window_layers=1, tie_word_embeddings=True), "bfloat16", [LONG]),
    "qwen3": (Qwen3Config, dict(hidden_size=48, head_dim=32, num_attention_heads=3, num_key_value_heads=1,
                                rms_norm_eps=1e-6, rope_theta=1e6), "bfloat16", [LONG]),
    "mistral_window": (MistralConfig, dict(sliding_window=8, rope_theta=10000.0), "bfloat16", [LONG]),
    "mistral_nemo": (MistralConfig, dict(sliding_window=None, hidden_size=56, head_dim=24,
                                         num_attention_heads=4, num_key_value_heads=1, rope_theta=1e6), "bfloat16", [LONG]),
}


def randomise(model, generator):
    """Larger weights than an initialiser's, so that logits, attention and norms are all uneven."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("norm.weight"):
            parameter.data = 1 + 0.3 * noise
        elif name.endswith(".bias"):
            parameter.data = 0.5 * noise
        elif "embed_tokens" in name:
            parameter.data = noise if not model.config.tie_word_embeddings else 0.3 * noise
        else:
            parameter.data = noise * (1.3 / parameter.shape[1] ** 0.5)


def write_config(folder, fields):
    """Puts back what a configuration class dropped, as a checkpoint's author would have written it."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for key, value in fields.items():
        config.setdefault(key, value)
        if config[key] is None:
            config[key] = value
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def golden_case(model, length, generator):
    ids = torch.randint(3, model.config.vocab_size, (1, length), generator=generator)
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits[0]
    rows = [[float(f"{value:.7g}") for value in row] for row in logits.tolist()]
    return {"ids": ids[0].tolist(), "planned": length, "logits": rows}


def make(name, folder, seed):
    config_class, fields, dtype, lengths = VARIANTS[name]
    generator = torch.Generator().manual_seed(seed)
    config = config_class(**{**BASE, **fields}, attn_implementation="eager")
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    randomise(model, generator)
    model.tie_weights()
    model = model.to(getattr(torch, dtype))  # rounds the rotary tables too: only for saving
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    write_config(folder, fields)
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        folder, torch_dtype=torch.float32, attn_implementation="eager").eval()
    if fields.get("use_sliding_window") is False:
        # 4.51's eager mask looks at the number alone; 4.48, later releases and the flash attention of
        # 4.51 itself look at the flag first.
        reference.config.sliding_window = None
    cases = [golden_case(reference, length, generator) for length in lengths]
    (folder / "generation_config.json").unlink()
    (folder / "model.safetensors").chmod(0o644)
    golden = {"reference": f"transformers {transformers.__version__}, float32, eager attention",
              "cases": cases}
    (folder / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    spread = torch.tensor(cases[-1]["logits"]).std()
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{name}: {size} bytes, logits' standard deviation {spread:.2f}")


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "golden" / "model_variants"
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=pathlib.Path, default=default)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed, name in enumerate(VARIANTS):
        if options.only in name:
            make(name, options.output / name, 1000 + seed)


if __name__ == "__main__":
    main()
