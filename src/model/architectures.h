// The table of architectures: what makes one family differ from the next, as data on one graph.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace upg::model {

// How a family says which positions a token sees.
enum class WindowRule : uint8_t {
  kNone,           // it has no window; a number below the context is refused
  kSlidingWindow,  // sliding_window, of all layers; null means all
  kUseFlag,  // the same only with use_sliding_window, which this build refuses when it matters
};

// Names in rope_scaling's "rope_type" or "type" beside "default".
enum class RopeKind : uint8_t { kDefault, kLlama3, kLongrope };

struct RopeName {
  std::string_view name;
  RopeKind kind;
};

// A row of the table in architectures.cc.
struct Architecture {
  std::string_view name;  // as config.json's "architectures" says it
  bool fused_qkv;
  bool fused_gate_up;
  bool qkv_bias;
  bool qk_norm;
  bool partial_rotary;  // partial_rotary_factor may be below 1
  WindowRule window;
  std::span<const RopeName> ropes;
  // Whether rope_theta (then 10000) and num_key_value_heads (then all heads) may be missing, as in
  // the first configs of the family, written when there was nothing else.
  bool early_configs;
};

std::span<const Architecture> all_architectures();
const Architecture* find_architecture(std::string_view name) noexcept;  // nullptr when unknown

}  // namespace upg::model
