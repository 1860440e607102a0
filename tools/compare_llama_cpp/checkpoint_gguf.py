"""A Phi-3 checkpoint folder as a GGUF file that llama.cpp loads.

llama.cpp's own converter knows tokenizers by a hash of their output and refuses others, so the file is written
here with the same keys. compare.py checks it: the same tokens and the same perplexity as in upg.
"""

import json
import pathlib

import gguf
import numpy as np

BLOCK_TENSORS = {  # a layer's tensors: checkpoint, GGUF
    "input_layernorm": "attn_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
MODEL_TENSORS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def gguf_name(name: str) -> str:
    """model.layers.3.mlp.down_proj.weight -> blk.3.ffn_down.weight"""
    stem = name.removesuffix(".weight")
    if stem in MODEL_TENSORS:
        return f"{MODEL_TENSORS[stem]}.weight"
    _, _, layer, tensor = stem.split(".", 3)
    return f"blk.{layer}.{BLOCK_TENSORS[tensor]}.weight"


def read_tensors(path: pathlib.Path):
    """(name, float32 array) of each tensor; safetensors by hand, since numpy has no bfloat16."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell()
    header.pop("__metadata__", None)
    data = np.memmap(path, np.uint8, "r")
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        yield name, as_float32(data[start + begin : start + end], entry["dtype"]).reshape(entry["shape"])


def as_float32(raw: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "BF16":
        return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return raw.view({"F16": np.float16, "F32": np.float32}[dtype]).astype(np.float32)


def padded_size(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def pad_hidden(name: str, tensor: np.ndarray, size: int) -> np.ndarray:
    """The same function with `size` hidden units in the feed-forward part: those added are zero."""
    if name.endswith("mlp.down_proj.weight"):
        return np.pad(tensor, ((0, 0), (0, size - tensor.shape[1])))
    if name.endswith("mlp.gate_up_proj.weight"):
        gate, up = np.split(tensor, 2)
        return np.concatenate([np.pad(half, ((0, size - len(half)), (0, 0))) for half in (gate, up)])
    return tensor


def add_hyperparameters(writer: gguf.GGUFWriter, config: dict, hidden: int) -> None:
    heads = config["num_attention_heads"]
    head_size = config["hidden_size"] // heads
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_rope_scaling_orig_ctx_len(config["original_max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(hidden)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(int(head_size * config.get("partial_rotary_factor", 1.0)))
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_sliding_window(0)  # as llama.cpp marks a Phi-4
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def add_tokenizer(writer: gguf.GGUFWriter, folder: pathlib.Path, config: dict) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokens = [f"[PAD{i}]" for i in range(config["vocab_size"])]
    types = [gguf.TokenType.UNUSED] * len(tokens)
    for token, index in tokenizer["model"]["vocab"].items():
        tokens[index], types[index] = token, gguf.TokenType.NORMAL
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]], types[added["id"]] = added["content"], gguf.TokenType.CONTROL
    merges = tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("dbrx")  # the cl100k split
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)


def write_gguf(checkpoint: pathlib.Path, target: pathlib.Path, columns: int = 1) -> None:
    """float32. `columns`: pads the feed-forward part's hidden units with zeros to a multiple of it."""
    config = json.loads((checkpoint / "config.json").read_text())
    if config["architectures"] != ["Phi3ForCausalLM"] or config.get("rope_scaling"):
        raise SystemExit(f"{checkpoint}: only Phi3ForCausalLM without rope_scaling is converted here")
    hidden = padded_size(config["intermediate_size"], columns)
    partial = target.with_suffix(".part")
    writer = gguf.GGUFWriter(partial, "phi3")
    add_hyperparameters(writer, config, hidden)
    add_tokenizer(writer, checkpoint, config)
    for path in sorted(checkpoint.glob("*.safetensors")):
        for name, tensor in read_tensors(path):
            writer.add_tensor(gguf_name(name), pad_hidden(name, tensor, hidden))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(target)


def tensor_sizes(path: pathlib.Path) -> list[dict]:
    """name, type, weights and bytes of each matrix of a GGUF file."""
    return [{"name": tensor.name, "type": tensor.tensor_type.name, "weights": int(tensor.n_elements),
             "bytes": int(tensor.n_bytes)}
            for tensor in gguf.GGUFReader(path).tensors if len(tensor.shape) == 2]
