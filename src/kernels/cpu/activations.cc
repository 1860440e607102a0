// Making input vectors ready for the integer codecs: rotation and quantisation, by blocks of 128.
#include "kernels/cpu/ops.h"
#include UPG_ISA_HEADER

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kBlock = codec::kBlockColumns;
constexpr int kBlockVectors = kBlock / kLanes;

// The short strides inside the registers, then the long ones between them: codec::rotate's order,
// and so its very bits.
inline __attribute__((always_inline)) void hadamard(Floats (&v)[kBlockVectors]) {
  for (Floats& part : v) part = butterflies(part);
  for (int stride = 1; stride < kBlockVectors; stride *= 2) {
    for (int i = 0; i < kBlockVectors; ++i) {
      if ((i & stride) != 0) continue;
      const Floats a = v[i], b = v[i + stride];
      v[i] = a + b;
      v[i + stride] = a - b;
    }
  }
  for (Floats& part : v) part = part * splat(0.08838834764831845f);  // 1 / sqrt(128)
}

}  // namespace

void rotate(float* x, int64_t cols, const uint8_t* signs) noexcept {
  for (int64_t c = 0; c < cols; c += kBlock) {
    Floats v[kBlockVectors];
    for (int i = 0; i < kBlockVectors; ++i) {
      const int64_t at = c + i * kLanes;
      v[i] = flip_signs(load(x + at), signs, at);
    }
    hadamard(v);
    for (int i = 0; i < kBlockVectors; ++i) store(x + c + i * kLanes, v[i]);
  }
}

void unrotate(float* x, int64_t cols, const uint8_t* signs) noexcept {
  for (int64_t c = 0; c < cols; c += kBlock) {
    Floats v[kBlockVectors];
    for (int i = 0; i < kBlockVectors; ++i) v[i] = load(x + c + i * kLanes);
    hadamard(v);
    for (int i = 0; i < kBlockVectors; ++i) {
      const int64_t at = c + i * kLanes;
      store(x + at, flip_signs(v[i], signs, at));
    }
  }
}

void quantise(const float* x, int64_t cols, int8_t* q, float* scale, int32_t* start) noexcept {
  for (int64_t c = 0, block = 0; c < cols; c += kBlock, ++block) {
    Floats most = zeros();
    Floats poison = zeros();  // 0, or NaN once a value is not finite
    for (int i = 0; i < kBlock; i += kLanes) {
      const Floats v = magnitude(load(x + c + i));
      most = larger(most, v);
      poison = multiply_add(v, zeros(), poison);
    }
    __builtin_memset(start + 4 * block, 0, 4 * sizeof(int32_t));
    const float amax = largest(most) + sum_of_lanes(poison);
    if (!(amax >= kSmallestAmax)) {
      __builtin_memset(q + c, 0, kBlock);
      scale[block] = amax * 0.0f;
      continue;
    }
    const Floats steps = splat(127.0f / amax);
    Ints sums = zero_ints();
    for (int i = 0; i < kBlock; i += kLanes) {
      sums = store_int8(q + c + i, load(x + c + i) * steps, sums);
    }
    scale[block] = amax / 127.0f;
    start[4 * block] = -kLevelOffset * sum_ints(sums);
  }
}

}  // namespace upg::kernels::UPG_ISA
