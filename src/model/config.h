// What a config.json says, checked and without class defaults: everything the graph needs as data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/backend.h"

namespace upg::model {

struct ModelConfig {
  std::string architecture;  // "Phi3ForCausalLM": the row of architectures.cc
  int64_t vocabulary = 0;
  int64_t hidden = 0;
  int64_t intermediate = 0;
  int layers = 0;
  kernels::AttentionShape attention;  // window is per layer, below
  std::vector<int> windows;           // [layers], 0 = all
  float norm_epsilon = 0;
  int64_t max_positions = 0;
  // Rotary tables: `rope` for a planned context up to long_from tokens, `long_rope` above
  // (longrope; elsewhere both are the same).
  kernels::Rope rope;
  kernels::Rope long_rope;
  int64_t long_from = 0;  // 0: no difference

  bool fused_qkv = false;      // one matrix qkv_proj, else q_proj, k_proj, v_proj
  bool fused_gate_up = false;  // one matrix gate_up_proj, else gate_proj, up_proj
  bool qkv_bias = false;
  bool qk_norm = false;
  bool tied_head = false;
  std::vector<int32_t> stop_ids;  // eos of config and generation config together
};

// Throws Error: kInvalidData for what is missing or out of range, kUnsupported for an architecture
// or option this build does not know, by name. `generation_config` may be empty.
ModelConfig parse_config(std::string_view config_json, std::string_view generation_config_json,
                         std::string_view file);

std::string architecture_names();  // for messages and docs

}  // namespace upg::model
