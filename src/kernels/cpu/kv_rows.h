// Rows of the KV cache, to and from floats.
#pragma once

#include "kernels/cpu/math.h"
#include "kernels/cpu_ops.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kQ8Values = 32;  // values that share a scale in a kQ8 row
constexpr int kQ8Bytes = 34;

inline int64_t kv_bytes(KvType type, int head_dim) {
  if (type == KvType::kF32) return 4 * head_dim;
  if (type == KvType::kF16) return 2 * head_dim;
  return head_dim / kQ8Values * kQ8Bytes;
}

inline void load_f16_row(const std::byte* row, int n, float* x) {
  for_vectors(
      n, [&](int64_t i) { store(x + i, load_f16(row + 2 * i)); },
      [&](int64_t i, int rest) {
        uint16_t bits[kLanes] = {};
        __builtin_memcpy(bits, row + 2 * i, 2 * rest);
        store_part(x + i, load_f16(bits), rest);
      });
}

inline void load_q8_row(const std::byte* row, int n, float* x) {
  for (int i = 0; i < n; i += kQ8Values, row += kQ8Bytes) {
    uint16_t bits;
    __builtin_memcpy(&bits, row, 2);
    const Floats scale = splat(half_to_float(bits));
    for (int j = 0; j < kQ8Values; j += kLanes) store(x + i + j, load_int8(row + 2 + j) * scale);
  }
}

inline void load_kv_row(const std::byte* row, int n, KvType type, float* x) {
  if (type == KvType::kF32) __builtin_memcpy(x, row, sizeof(float) * n);
  if (type == KvType::kF16) load_f16_row(row, n, x);
  if (type == KvType::kQ8) load_q8_row(row, n, x);
}

inline void store_f16_row(std::byte* row, const float* x, int n) {
  for_vectors(
      n, [&](int64_t i) { store_f16(row + 2 * i, load(x + i)); },
      [&](int64_t i, int rest) {
        uint16_t halves_of_rest[kLanes];
        store_f16(halves_of_rest, load_part(x + i, rest));
        __builtin_memcpy(row + 2 * i, halves_of_rest, 2 * rest);
      });
}

inline void store_q8_row(std::byte* row, const float* x, int n) {
  for (int i = 0; i < n; i += kQ8Values, row += kQ8Bytes) {
    Floats most = zeros();
    for (int j = 0; j < kQ8Values; j += kLanes) most = larger(most, magnitude(load(x + i + j)));
    const float wanted = largest(most) / 127.0f;
    const uint16_t bits = float_to_half(wanted < 65504.0f ? wanted : 65504.0f);
    const float scale = half_to_float(bits);
    __builtin_memcpy(row, &bits, 2);
    for (int j = 0; j < kQ8Values; j += kLanes) {
      const Floats v = scale > 0 ? load(x + i + j) / splat(scale) : zeros();
      store_int8(row + 2 + j, smaller(larger(v, splat(-127)), splat(127)), zero_ints());
    }
  }
}

inline void store_kv_row(std::byte* row, const float* x, int n, KvType type) {
  if (type == KvType::kF32) __builtin_memcpy(row, x, sizeof(float) * n);
  if (type == KvType::kF16) store_f16_row(row, x, n);
  if (type == KvType::kQ8) store_q8_row(row, x, n);
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
