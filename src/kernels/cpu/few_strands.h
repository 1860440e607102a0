// Products of path and int8 matrices with 1 to kTileTokens inputs: every code is decoded once, in
// the order of memory, and meets all inputs. few_turned.h offers the same names.
#pragma once

#include "kernels/cpu/codes_product.h"
#include "kernels/cpu/strands.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kFewInputs = kTiledInputs;  // from which on inputs come in tiles

// kGroups groups of rows, `distance` groups apart, the first being `group` of the range, times at
// most kTileTokens inputs.
template <int kGroups, int kTokens, class Source>
void multiply_groups(const Source& source, const CodesProduct<QuantisedInput>& p, int64_t group,
                     int64_t distance) {
  constexpr int kStrands = kGroups * kStrandsPerGroup;
  const uint8_t* at[kStrands];
  int64_t row[kStrands];
  for (int s = 0; s < kStrands; ++s) {
    const int64_t g = group + s / kStrandsPerGroup * distance;
    at[s] = p.codes + g * p.group_bytes + s % kStrandsPerGroup * kStrandBytes;
    row[s] = p.rows.begin + g * codec::kGroupRows + s % kStrandsPerGroup * kRowsPerVector;
  }
  Floats sums[(kTokens > 0 ? kTokens : kTileTokens) * kStrands];
  for (Floats& sum : sums) sum = zeros();
  const InputTile tile = input_tile(p.x, 0, 0, static_cast<int>(p.x.rows));
  multiply_strands<kStrands, kTokens>(source, at, p.blocks, tile, sums);
  for (int t = 0; t < tile.tokens; ++t) {
    for (int s = 0; s < kStrands; ++s) {
      store_strand(sums[t * kStrands + s], row[s], p.rows.end, p.scale, p.unit, p.out, t);
    }
  }
}

// Few inputs: every code is decoded once, in the order of memory, from two places far apart (two
// streams read faster than one).
template <int kTokens, class Source>
void stream_groups(const Source& source, const CodesProduct<QuantisedInput>& p) {
  const int64_t rows = p.rows.end - p.rows.begin;
  const int64_t groups = (rows + codec::kGroupRows - 1) / codec::kGroupRows;
  const int64_t half = groups / 2;
  for (int64_t g = 0; g < half; ++g) multiply_groups<2, kTokens>(source, p, g, half);
  if (groups % 2 != 0) multiply_groups<1, kTokens>(source, p, groups - 1, 0);
}

template <class Source>
void multiply_few(const Source& source, const CodesProduct<QuantisedInput>& p) {
  p.x.rows == 1 ? stream_groups<1>(source, p) : stream_groups<0>(source, p);
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
