// Second moments of a matrix's inputs, summed window by window.
#pragma once

#include <cstdint>
#include <vector>

#include "base/threads.h"
#include "compress/coding_problem.h"

namespace upg::compression {

// Sums in float32, a window at a time. What that loses, about 1e-6 of a diagonal entry, is far
// below the damping (1e-2 of the mean diagonal) that every factor gets.
class MomentSums {
 public:
  explicit MomentSums(int64_t cols, bool with_drift);

  // compressed, original: [tokens, cols], the same tokens through both models.
  void add(const float* compressed, const float* original, int64_t tokens, base::ThreadTeam& team);

  // In the basis of the codes: padded to whole blocks, turned by `signs` where not null.
  Moments in_basis(const uint8_t* signs) const;

 private:
  int64_t cols_;
  std::vector<float> gram_;   // [cols, cols], upper blocks
  std::vector<float> drift_;  // [cols, cols]
  std::vector<float> difference_;
};

}  // namespace upg::compression
