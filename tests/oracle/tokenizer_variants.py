"""tokenizer.json files to compare on: the bundled one, and what other models have."""

import base64
import copy
import importlib.util
import json
import pathlib

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
CL100K = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL
CL100K_SHORT = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}"
                r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")
CL100K_POSSESSIVE = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
                     r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = (r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + "+" + CONTRACTIONS + "?|"
         r"[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER + "*" + CONTRACTIONS + "?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
# Known to no scanner: goes through the regular expression engine.
UNKNOWN = r"\p{Lu}?\p{Ll}+|\p{L}+|\d{2}|[\w']+|[^\s\w]{1,4}|\s+(?!\S)|\s"

# Rank files of the tiktoken vocabularies inside the litellm package, by the hash of their address.
RANK_FILES = {"cl100k": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
              "o200k": "fb374d419588a4632f3f557e76b4b70aebbca790"}


def byte_alphabet():
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in keep}
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + len(table) - len(keep))
    return table


def split_pipeline(pattern, behavior="Isolated", invert=False):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [split, level]}


def byte_level(add_prefix_space):
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True,
            "use_regex": True}


def bos_template(token, token_id):
    return {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": token, "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {token: {"id": token, "ids": [token_id], "tokens": [token]}}}


def added(token_id, content, **flags):
    base = {"id": token_id, "content": content, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False, "special": True}
    return {**base, **flags}


def merge_parts(token, ranks):
    """The two tokens that a token of a rank file is joined from."""
    limit = ranks[token]
    parts = [bytes([b]) for b in token]
    while len(parts) > 2:
        best, place = limit, -1
        for i in range(len(parts) - 1):
            rank = ranks.get(parts[i] + parts[i + 1], limit)
            if rank < best:
                best, place = rank, i
        assert place >= 0, token
        parts[place:place + 2] = [parts[place] + parts[place + 1]]
    return parts


def from_ranks(name, pattern, specials):
    package = importlib.util.find_spec("litellm")
    folder = pathlib.Path(package.submodule_search_locations[0])
    lines = (folder / "litellm_core_utils/tokenizers" / RANK_FILES[name]).read_bytes().split(b"\n")
    ranks = {base64.b64decode(t): int(r) for t, r in (line.split() for line in lines if line)}
    table = byte_alphabet()
    text = {token: "".join(table[b] for b in token) for token in ranks}
    ordered = sorted((token for token in ranks if len(token) > 1), key=ranks.get)
    merges = [[text[part] for part in merge_parts(token, ranks)] for token in ordered]
    first = max(ranks.values()) + 1
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [added(first + i, content) for i, content in enumerate(specials)],
            "normalizer": None, "pre_tokenizer": split_pipeline(pattern), "post_processor": None,
            "decoder": byte_level(True),
            "model": {"type": "BPE", "dropout": None, "unk_token": None,
                      "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
                      "byte_fallback": False, "ignore_merges": False,
                      "vocab": {text[token]: rank for token, rank in ranks.items()},
                      "merges": merges}}


def next_ids(data, contents, **flags):
    first = len(data["model"]["vocab"])
    return [added(first + i, content, **flags) for i, content in enumerate(contents)]


def small_variants(bundled):
    """Variants of the bundled tokenizer: name -> tokenizer.json as a value."""
    def variant(**changes):
        return {**copy.deepcopy(bundled), **changes}

    out = {"bundled": bundled}
    phi4 = variant()
    for token in phi4["added_tokens"]:
        token.update(lstrip=True, rstrip=True)
    out["phi4_flags"] = phi4
    flags = variant(normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}]})
    flags["added_tokens"] += [
        *next_ids(bundled, ["word", "wordy", "Café", "éclair", "\u1e9b\u0323"], special=False,
                  single_word=True, normalized=True)]
    first = flags["added_tokens"][-1]["id"] + 1
    flags["added_tokens"] += [added(first, "<l>", lstrip=True), added(first + 1, "<r>", rstrip=True),
                              added(first + 2, " <r", special=False, single_word=True),
                              added(first + 3, "  ", rstrip=True, special=False)]
    out["added_flags"] = flags
    out["gpt2"] = variant(pre_tokenizer=byte_level(False), post_processor=byte_level(False))
    out["gpt2_prefix_space"] = variant(pre_tokenizer=byte_level(True))
    out["gpt2_split"] = variant(pre_tokenizer=split_pipeline(GPT2))
    out["qwen2_nfc"] = variant(normalizer={"type": "NFC"}, pre_tokenizer=split_pipeline(QWEN2))
    out["cl100k_short"] = variant(pre_tokenizer=split_pipeline(CL100K_SHORT))
    out["cl100k_possessive"] = variant(pre_tokenizer=split_pipeline(CL100K_POSSESSIVE))
    out["o200k_small"] = variant(pre_tokenizer=split_pipeline(O200K, "Removed", True))
    out["unknown_pattern"] = variant(pre_tokenizer=split_pipeline(UNKNOWN))
    digits = {"type": "Digits", "individual_digits": True}
    out["digits"] = variant(pre_tokenizer={"type": "Sequence",
                                           "pretokenizers": [digits, byte_level(False)]})
    unknown = variant()
    unknown["model"].update(unk_token="<|endoftext|>", fuse_unk=True, ignore_merges=True)
    for byte in "abcé":  # as bytes of the alphabet: tokens that the model lacks
        table = byte_alphabet()[byte.encode()[-1]]
        vocab, merges = unknown["model"]["vocab"], unknown["model"]["merges"]
        unknown["model"]["merges"] = [m for m in merges if table not in m[0] + m[1]]
        gone = vocab.pop(table)
        vocab[f"<unused{gone}>"] = gone
    out["missing_bytes"] = unknown
    return out


def real_variants():
    """The vocabularies of real size. Needs the litellm package."""
    llama3 = from_ranks("cl100k", CL100K, ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    llama3["model"]["ignore_merges"] = True
    bos = llama3["added_tokens"][0]
    llama3["post_processor"] = {
        "type": "Sequence",
        "processors": [byte_level(True), bos_template(bos["content"], bos["id"])]}
    o200k = from_ranks("o200k", O200K, ["<|endoftext|>", "<|end|>", "<|user|>"])
    cl100k = from_ranks("cl100k", CL100K, ["<|im_start|>", "<|im_sep|>", "<|im_end|>"])
    for token in cl100k["added_tokens"]:
        token.update(lstrip=True, rstrip=True)
    return {"cl100k_phi4": cl100k, "llama3": llama3, "o200k": o200k}


def load_bundled(folder):
    return json.loads((pathlib.Path(folder) / "tokenizer.json").read_text(encoding="utf-8"))
