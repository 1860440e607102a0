"""Logits of every position, and tokens, from llama.cpp's library. Import it after LLAMA_CPP_LIB_PATH is set."""

import ctypes
import pathlib

import llama_cpp
import numpy as np

GGML_TYPE_F32 = 0
FLASH_ATTENTION_OFF = 0


@llama_cpp.llama_log_callback
def say_nothing(level, text, user_data):
    pass


class Model:
    """One GGUF file on the CPU; keys and values in float32, so that only the weights' types differ."""

    def __init__(self, path: pathlib.Path, context: int, threads: int):
        llama_cpp.llama_log_set(say_nothing, None)
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.model:
            raise SystemExit(f"{path}: llama.cpp cannot load it")
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(self.vocab)
        self.context = llama_cpp.llama_init_from_model(self.model, context_parameters(context, threads))
        if not self.context:
            raise SystemExit(f"{path}: no memory for a context of {context} tokens")
        self.batch = llama_cpp.llama_batch_init(context, 0, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)

    def logits(self, ids: list[int]) -> np.ndarray:
        """[tokens, vocabulary] float32, of a sequence that starts with ids[0]; valid until the next call."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        self.batch.n_tokens = len(ids)
        for position, token in enumerate(ids):
            self.batch.token[position] = token
            self.batch.pos[position] = position
            self.batch.n_seq_id[position] = 1
            self.batch.seq_id[position][0] = 0
            self.batch.logits[position] = 1
        status = llama_cpp.llama_decode(self.context, self.batch)
        if status != 0:
            raise SystemExit(f"llama_decode: {status}")
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits(self.context), (len(ids), self.vocabulary))

    def tokenize(self, text: bytes) -> list[int]:
        """Without tokens around the text; special ones in it are text."""
        ids = (ctypes.c_int32 * (len(text) + 1))()
        count = llama_cpp.llama_tokenize(self.vocab, text, len(text), ids, len(ids), False, False)
        return list(ids[:count])


def context_parameters(context: int, threads: int):
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = context
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.type_k = parameters.type_v = GGML_TYPE_F32
    parameters.flash_attn_type = FLASH_ATTENTION_OFF
    return parameters
