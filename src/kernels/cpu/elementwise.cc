// Norm, rotary turn and SwiGLU.
#include "kernels/cpu/ops.h"
#include UPG_ISA_HEADER
#include "kernels/cpu/math.h"

namespace upg::kernels::UPG_ISA {
namespace {

inline Floats silu(Floats v) { return v / (splat(1.0f) + exponential(zeros() - v)); }

float sum_of_squares(const float* x, int64_t n) {
  Floats total = zeros();
  for_vectors(
      n, [&](int64_t i) { total = multiply_add(load(x + i), load(x + i), total); },
      [&](int64_t i, int rest) {
        const Floats v = load_part(x + i, rest);
        total = multiply_add(v, v, total);
      });
  return sum_of_lanes(total);
}

}  // namespace

void rms_norm(float* y, const float* x, const float* weight, float epsilon, int64_t cols) noexcept {
  const float mean = sum_of_squares(x, cols) / static_cast<float>(cols);
  const Floats factor = splat(1.0f / __builtin_sqrtf(mean + epsilon));
  for_vectors(
      cols, [&](int64_t i) { store(y + i, load(x + i) * factor * load(weight + i)); },
      [&](int64_t i, int rest) {
        const Floats v = load_part(x + i, rest) * factor * load_part(weight + i, rest);
        store_part(y + i, v, rest);
      });
}

void rope(float* head, const float* cos, const float* sin, int dims) noexcept {
  const int half = dims / 2;
  float* upper = head + half;
  for_vectors(
      half,
      [&](int64_t i) {
        const Floats a = load(head + i), b = load(upper + i), c = load(cos + i), s = load(sin + i);
        store(head + i, a * c - b * s);
        store(upper + i, b * c + a * s);
      },
      [&](int64_t i, int rest) {
        const Floats a = load_part(head + i, rest), b = load_part(upper + i, rest);
        const Floats c = load_part(cos + i, rest), s = load_part(sin + i, rest);
        store_part(head + i, a * c - b * s, rest);
        store_part(upper + i, b * c + a * s, rest);
      });
}

void swiglu(float* y, const float* gate, const float* up, int64_t n) noexcept {
  for_vectors(
      n, [&](int64_t i) { store(y + i, silu(load(gate + i)) * load(up + i)); },
      [&](int64_t i, int rest) {
        store_part(y + i, silu(load_part(gate + i, rest)) * load_part(up + i, rest), rest);
      });
}

}  // namespace upg::kernels::UPG_ISA
