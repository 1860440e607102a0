#include "kernels/cuda/geometry.h"

#include <algorithm>

namespace upg::kernels::cuda {

int attention_splits(int64_t units, int64_t longest, const DeviceLimits& limits) noexcept {
  const int64_t wanted =
      4 * static_cast<int64_t>(limits.multiprocessors) / std::max<int64_t>(units, 1);
  const int64_t most = longest / kSplitPositions;
  return static_cast<int>(std::clamp<int64_t>(std::min(wanted, most), 1, kMaxSplits));
}

}  // namespace upg::kernels::cuda
