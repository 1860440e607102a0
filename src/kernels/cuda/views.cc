#include "kernels/cuda/views.h"

namespace upg::kernels::cuda {
namespace {

void pack(const std::array<int8_t, 16>& levels, uint32_t (&words)[4]) {
  for (int i = 0; i < 16; ++i) {
    const auto byte = static_cast<uint32_t>(levels[static_cast<size_t>(i)] + kLevelOffset);
    words[i / 4] |= byte << (8 * (i % 4));
  }
}

}  // namespace

Palette make_palette(const codec::PathMatrix& path) noexcept {
  Palette palette = {};
  pack(path.level_a, palette.a);
  pack(path.level_b, palette.b);
  return palette;
}

}  // namespace upg::kernels::cuda
