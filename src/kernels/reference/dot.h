// How reference sums products: exactly in int32 for integers; for floats in sixteen running sums
// (one for each column modulo 16), added up in order. That is as plain as one running sum, less
// exposed to rounding, and a compiler may vectorise it without reordering anything.
#pragma once

#include <cstdint>

namespace upg::kernels::reference {

inline constexpr int64_t kLanes = 16;

template <class T>
float dot(const T* w, const float* x, int64_t n) noexcept {
  float lanes[kLanes] = {};
  const int64_t whole = n - n % kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += static_cast<float>(w[i + lane]) * x[i + lane];
    }
  }
  for (int64_t i = whole; i < n; ++i) lanes[i - whole] += static_cast<float>(w[i]) * x[i];
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

inline int32_t dot(const int8_t* w, const int8_t* q, int64_t n) noexcept {
  int32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += w[i] * q[i];
  return sum;
}

}  // namespace upg::kernels::reference
