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
  // residual_rows: rows of the residual streams that add_residual() will be given; 0: none.
  MomentSums(int64_t cols, bool with_drift, int64_t residual_rows);

  // compressed, original: inputs [tokens, cols] of the same tokens in both models.
  void add(const float* compressed, const float* original, int64_t tokens, base::ThreadTeam& team);
  // The residual streams [tokens, residual_rows] of these tokens; inputs as in add().
  void add_residual(const float* compressed_stream, const float* original_stream,
                    const float* compressed, int64_t tokens, base::ThreadTeam& team);

  // In the basis of the codes: padded to whole blocks, turned by `signs` where not null. Of sums
  // that are no longer needed, in their own memory: at 17,920 columns a copy is 1.3 GB a matrix.
  Moments in_basis(const uint8_t* signs) &&;
  Moments in_basis(const uint8_t* signs) const&;

 private:
  int64_t cols_;
  int64_t residual_rows_;
  std::vector<float> gram_;      // [cols, cols], upper blocks
  std::vector<float> drift_;     // [cols, cols]
  std::vector<float> residual_;  // [residual_rows, cols]
  std::vector<float> difference_;
};

}  // namespace upg::compression
