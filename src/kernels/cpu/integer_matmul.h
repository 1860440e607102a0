// y = W x for codecs whose blocks have a fixed size: from one input, streamed at memory speed, to a
// whole prompt.
#pragma once

#include "kernels/cpu/float_panel.h"
#include "kernels/cpu/panel.h"

namespace upg::kernels::UPG_ISA {
namespace {

// A matrix of interleaved rows, the part of it that is asked for, and its inputs.
template <class Input>
struct CodesProduct {
  const uint8_t* codes;  // of row rows.begin
  const float* scale;    // [rows]
  float unit;            // weight = scale * unit * level
  int64_t group_bytes;
  int64_t blocks;
  RowRange rows;
  Input x;
  Output out;
};

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

template <class Source, class Input>
void decode_panel(const Source& source, const CodesProduct<Input>& p, int64_t row, int64_t block,
                  int64_t blocks, Panel& panel) {
  const uint8_t* codes = p.codes + row / codec::kGroupRows * p.group_bytes;
  for (int s = 0; s < kPanelStrands; ++s) {
    const uint8_t* at = codes + s / kStrandsPerGroup * p.group_bytes +
                        s % kStrandsPerGroup * kStrandBytes + block * Source::kBlockBytes;
    for (int64_t b = 0; b < blocks; ++b) source.load(at + b * Source::kBlockBytes, panel.w[s][b]);
  }
}

template <class Source, class Input>
void multiply_panels(const Source& source, const CodesProduct<Input>& p) {
  Panel panel;
  const int64_t rows = p.rows.end - p.rows.begin;
  for (int64_t row = 0; row < rows; row += kPanelRows) {
    const PanelRows part = {p.rows.begin + row, p.rows.end, p.scale, p.unit};
    for (int64_t block = 0; block < p.blocks; block += kPanelBlocks) {
      const int64_t left = p.blocks - block;
      const int64_t blocks = left < kPanelBlocks ? left : kPanelBlocks;
      decode_panel(source, p, row, block, blocks, panel);
      multiply_panel<typename Source::Levels>(panel, block, blocks, p.x, part, p.out);
    }
  }
}

template <class Source>
void multiply_codes(const Source& source, const CodesProduct<QuantisedInput>& p) {
  if (p.x.rows == 1) {
    stream_groups<1>(source, p);
  } else if (p.x.rows <= kTileTokens) {
    stream_groups<0>(source, p);
  } else {
    multiply_panels(source, p);
  }
}

template <class Source>
void multiply_codes(const Source& source, const CodesProduct<FloatInput>& p) {
  multiply_panels(source, p);
}

// codes: of row 0 of the matrix.
template <class Input>
CodesProduct<Input> codes_product(const void* codes, int block_bytes, const float* scale,
                                  float unit, RowRange rows, const Input& x, const Output& out) {
  const int64_t blocks = (x.cols + codec::kBlockColumns - 1) / codec::kBlockColumns;
  const int64_t group_bytes = blocks * block_bytes;
  const uint8_t* first =
      static_cast<const uint8_t*>(codes) + rows.begin / codec::kGroupRows * group_bytes;
  return {first, scale, unit, group_bytes, blocks, rows, x, out};
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
