// What the makers of random models share: numbers that follow from a seed, and Phi-4's shape.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace upg::tools {

// splitmix64: a fixed sequence of independent 64-bit numbers from any start.
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
};

inline uint64_t mix(uint64_t a, uint64_t b) { return Random{a ^ (b * 0xd6e8feb86659fd93u)}.next(); }

uint64_t hash_name(std::string_view name);

// microsoft/phi-4's.
struct ModelShape {
  int layers = 40;
  int hidden = 5120;
  int intermediate = 17920;
  int heads = 40;
  int kv_heads = 10;
  int vocabulary = 100352;
  int context = 16384;
};

// config.json of such a model: Phi3ForCausalLM, embedding and head apart.
std::string config_text(const ModelShape& shape);

}  // namespace upg::tools
