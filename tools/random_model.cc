#include "tools/random_model.h"

#include <fmt/format.h>

namespace upg::tools {

uint64_t hash_name(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

std::string config_text(const ModelShape& shape) {
  return fmt::format(R"({{
  "architectures": ["Phi3ForCausalLM"],
  "model_type": "phi3",
  "attention_bias": false,
  "bos_token_id": 0,
  "eos_token_id": 0,
  "pad_token_id": 0,
  "hidden_act": "silu",
  "hidden_size": {},
  "intermediate_size": {},
  "max_position_embeddings": {},
  "original_max_position_embeddings": {},
  "num_attention_heads": {},
  "num_hidden_layers": {},
  "num_key_value_heads": {},
  "partial_rotary_factor": 1.0,
  "rms_norm_eps": 1e-05,
  "rope_scaling": null,
  "rope_theta": 250000.0,
  "sliding_window": null,
  "tie_word_embeddings": false,
  "torch_dtype": "bfloat16",
  "use_cache": true,
  "vocab_size": {}
}}
)",
                     shape.hidden, shape.intermediate, shape.context, shape.context, shape.heads,
                     shape.layers, shape.kv_heads, shape.vocabulary);
}

}  // namespace upg::tools
