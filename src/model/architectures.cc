// Sources: transformers models/{phi3,llama,qwen2,qwen3,mistral}, releases 4.48 and 4.51.
#include "model/architectures.h"

#include <array>
#include <string>

#include "model/config.h"

namespace upg::model {
namespace {

// "su" and "yarn" are longrope's former names in the Phi-3 family alone: elsewhere "yarn" is YaRN,
// which is not in these lists and so is refused.
constexpr RopeName kPhi3Ropes[] = {
    {"longrope", RopeKind::kLongrope}, {"su", RopeKind::kLongrope}, {"yarn", RopeKind::kLongrope}};
constexpr RopeName kLlamaRopes[] = {{"llama3", RopeKind::kLlama3}};

constexpr std::array<Architecture, 5> kArchitectures = {{
    {.name = "Phi3ForCausalLM",
     .fused_qkv = true,
     .fused_gate_up = true,
     .qkv_bias = false,
     .qk_norm = false,
     .partial_rotary = true,
     .window = WindowRule::kSlidingWindow,
     .ropes = kPhi3Ropes,
     .early_configs = true},
    {.name = "LlamaForCausalLM",
     .fused_qkv = false,
     .fused_gate_up = false,
     .qkv_bias = false,
     .qk_norm = false,
     .partial_rotary = false,
     .window = WindowRule::kNone,
     .ropes = kLlamaRopes,
     .early_configs = true},
    {.name = "Qwen2ForCausalLM",
     .fused_qkv = false,
     .fused_gate_up = false,
     .qkv_bias = true,
     .qk_norm = false,
     .partial_rotary = false,
     .window = WindowRule::kUseFlag,
     .ropes = {},
     .early_configs = false},
    {.name = "Qwen3ForCausalLM",
     .fused_qkv = false,
     .fused_gate_up = false,
     .qkv_bias = false,
     .qk_norm = true,
     .partial_rotary = false,
     .window = WindowRule::kUseFlag,
     .ropes = {},
     .early_configs = false},
    {.name = "MistralForCausalLM",
     .fused_qkv = false,
     .fused_gate_up = false,
     .qkv_bias = false,
     .qk_norm = false,
     .partial_rotary = false,
     .window = WindowRule::kSlidingWindow,
     .ropes = {},
     .early_configs = false},
}};

}  // namespace

std::span<const Architecture> all_architectures() { return kArchitectures; }

const Architecture* find_architecture(std::string_view name) noexcept {
  for (const Architecture& row : kArchitectures) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

std::string architecture_names() {
  std::string names;
  for (const Architecture& row : kArchitectures) {
    if (!names.empty()) names += ", ";
    names += row.name;
  }
  return names;
}

}  // namespace upg::model
