// The levels of a sparse matrix: fifteen beside zero, fitted to the weights it keeps.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace upg::codec {

// Fifteen levels and the scale that belongs to them, as PathFit has it.
struct SparseFit {
  std::array<int8_t, 16> level = {};  // entry 0 is zero, the others ascend
  double levels_per_rms = 0;          // a kept weight is level / levels_per_rms of its row's rms
};

// What suits Gaussian rows at half density.
SparseFit gaussian_sparse_fit();

// Levels of least squared error (Lloyd 1957) for kept weights, each divided by the root mean square
// of those its row keeps. An empty sample gives the Gaussian's.
SparseFit fit_sparse_levels(std::vector<float> sample);

// The nearest code by a table: midpoints between integer levels are multiples of a half, so that
// all targets with the same floor(2 target) have the same nearest level.
class NearestCode {
 public:
  enum class Zero : bool { kAllowed, kNever };

  explicit NearestCode(const std::array<int8_t, 16>& level, Zero zero = Zero::kAllowed);

  // target: in levels.
  uint8_t operator()(float target) const noexcept {
    const float bounded = target < -63.0f ? -63.0f : target > 63.0f ? 63.0f : target;
    return code_[static_cast<size_t>(static_cast<int>(2 * bounded + kOffset))];
  }

 private:
  static constexpr int kOffset = 128;  // truncation is floor from here on
  std::array<uint8_t, 256> code_;      // cells of width 1/2 over [-64, 64)
};

}  // namespace upg::codec
