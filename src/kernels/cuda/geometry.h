// How work is cut for a device: plain arithmetic, tested without one.
#pragma once

#include <cstdint>

namespace upg::kernels::cuda {

// What a device has, as far as launches depend on it.
struct DeviceLimits {
  int multiprocessors = 1;
  int shared_bytes = 48 << 10;  // a block may have at most
  int major = 8;                // compute capability
  int minor = 0;
  bool cooperative = false;
};

// Part `index` of `parts` of `count` things: [begin, end).
struct Span {
  int begin;
  int end;
};
constexpr Span span_of(int count, int index, int parts) {
  const auto all = static_cast<uint32_t>(count);  // their product fits: millions by hundreds
  const auto by = static_cast<uint32_t>(parts);
  return {static_cast<int>(all * static_cast<uint32_t>(index) / by),
          static_cast<int>(all * static_cast<uint32_t>(index + 1) / by)};
}

// Into how many parts the positions of each token are cut, so that a step of few tokens still
// occupies the device. units: blocks of one part. longest: positions the longest token sees.
int attention_splits(int64_t units, int64_t longest, const DeviceLimits& limits) noexcept;

// Heads that half a warp can hold, eight dimensions a lane.
inline constexpr int kLaneDims = 8;
inline constexpr int kFastHeadDim = 128;
constexpr bool has_fast_attention(int head_dim) {
  return head_dim <= kFastHeadDim && head_dim % kLaneDims == 0;
}
// A part of a head's result: [head_dim] sums of weighted values, the maximum, the sum of weights.
inline constexpr int kPartExtra = 2;

inline constexpr int kMaxSplits = 64;
inline constexpr int kSplitPositions = 128;  // a part has at least so many

}  // namespace upg::kernels::cuda
