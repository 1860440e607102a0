// What happens to vectors between the products.
#include <algorithm>
#include <cmath>
#include <limits>

#include "codec/rotation.h"
#include "kernels/reference/dot.h"
#include "kernels/reference/ops.h"

namespace upg::kernels::reference {
namespace {

using codec::kBlockColumns;

constexpr float kLargestCode = 127.0f;

void quantise_block(const float* x, int8_t* q, float& scale) {
  float amax = 0;
  bool finite = true;
  for (int i = 0; i < kBlockColumns; ++i) {
    amax = std::max(amax, std::fabs(x[i]));
    finite = finite && std::isfinite(x[i]);
  }
  scale = finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  std::fill_n(q, kBlockColumns, int8_t{0});
  if (!finite || amax < kSmallestAmax) return;
  scale = amax / kLargestCode;
  const float inverse = kLargestCode / amax;
  for (int i = 0; i < kBlockColumns; ++i) {
    q[i] = static_cast<int8_t>(std::nearbyint(x[i] * inverse));
  }
}

}  // namespace

void rotate(float* x, int64_t cols, const uint8_t* signs) noexcept {
  codec::rotate(x, 1, cols, signs);
}

// Its products take levels as they are: every sum starts with zero.
void quantise(const float* x, int64_t cols, int8_t* q, float* scale, int32_t* start) noexcept {
  std::fill_n(start, 4 * cols / kBlockColumns, 0);
  for (int64_t c = 0; c < cols; c += kBlockColumns) {
    quantise_block(x + c, q + c, scale[c / kBlockColumns]);
  }
}

void rms_norm(float* y, const float* x, const float* weight, float epsilon, int64_t cols) noexcept {
  const float mean = dot(x, x, cols) / static_cast<float>(cols);
  const float factor = 1.0f / std::sqrt(mean + epsilon);
  for (int64_t c = 0; c < cols; ++c) y[c] = x[c] * factor * weight[c];
}

void rope(float* head, const float* cos, const float* sin, int dims) noexcept {
  const int half = dims / 2;
  for (int i = 0; i < half; ++i) {
    const float a = head[i];
    const float b = head[i + half];
    head[i] = a * cos[i] - b * sin[i];
    head[i + half] = b * cos[i] + a * sin[i];
  }
}

void swiglu(float* y, const float* gate, const float* up, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) y[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

}  // namespace upg::kernels::reference
