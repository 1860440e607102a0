// Decoded strands as floats: what a path matrix is when it is not multiplied.
#pragma once

#include "kernels/cpu/strands.h"

namespace upg::kernels::UPG_ISA {
namespace {

// level / 63 rounded as a division would be (Markstein: one step from the product with the rounded
// reciprocal; kernels_test.cc compares all levels), times scale.
inline Floats weight_of_level(Floats level, Floats scale) {
  const Floats inverse = splat(1.0f / 63.0f);
  const Floats near = level * inverse;
  const Floats rest = negated_multiply_add(near, splat(63.0f), level);
  return scale * multiply_add(rest, inverse, near);
}

// The kRowsPerVector rows of a decoded strand and block. row[r]: where row r's block goes, null for
// a row that is not wanted; scale: of the strand's first row.
template <class Levels>
inline void store_block(const Ints (&w)[kVectors], float* const* row, const float* scale) {
  alignas(64) int8_t levels[kVectors][kStrandBytes];
  for (int k = 0; k < kVectors; ++k) {
    store_bytes(levels[k], add_bytes(w[k], splat_bytes(-Levels::kOffset)));
  }
  for (int r = 0; r < kRowsPerVector; ++r) {
    if (row[r] == nullptr) continue;
    const Floats row_scale = splat(scale[r]);
    for (int k = 0; k < kVectors; ++k) {
      for (int i = 0; i < 16; i += kLanes) {
        store(row[r] + 16 * k + i, weight_of_level(load_int8(levels[k] + 16 * r + i), row_scale));
      }
    }
  }
}

// Rows [first, first + count), each of `blocks` blocks of 128 columns, one after the other.
template <class Source>
void decode_strands(const Source& source, const codec::PathMatrix& w, int64_t blocks, int64_t first,
                    int64_t count, float* out) {
  const int64_t begin = first / kRowsPerVector * kRowsPerVector;
  for (int64_t row = begin; row < first + count; row += kRowsPerVector) {
    float* to[kRowsPerVector];
    float scale[kRowsPerVector];
    for (int r = 0; r < kRowsPerVector; ++r) {
      const int64_t at = row + r - first;
      const bool wanted = at >= 0 && at < count;
      to[r] = wanted ? out + at * blocks * codec::kBlockColumns : nullptr;
      scale[r] = wanted ? w.scale[row + r] : 0;
    }
    const uint8_t* codes = w.codes + row / codec::kGroupRows * blocks * Source::kBlockBytes +
                           row % codec::kGroupRows * 16;
    for (int64_t block = 0; block < blocks; ++block) {
      Ints levels[kVectors];
      source.load(codes + block * Source::kBlockBytes, levels);
      store_block<typename Source::Levels>(levels, to, scale);
      for (float*& at : to) at += at != nullptr ? codec::kBlockColumns : 0;
    }
  }
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
