// Products of decoded integer weights with quantised activations, for any codec.
//
// A strand is the rows that share a register (kRowsPerVector of them, 16 bytes a row); the strands
// of a group of four rows lie side by side in every 64 bytes. A Source turns the bytes of one
// strand and block into eight vectors of 16 columns; a tile multiplies a few strands with a few
// inputs, so that a block is decoded once for all of them.
#pragma once

#include "kernels/cpu_ops.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kVectors = codec::kBlockColumns / 16;                   // a strand and block
constexpr int kStrandsPerGroup = codec::kGroupRows / kRowsPerVector;  // 1 or 2
constexpr int kStrandBytes = static_cast<int>(sizeof(Ints));          // of every 64
constexpr int kTileTokens = 16;                                       // inputs of one tile
static_assert(kTileTokens + 1 == kTiledInputs);  // beyond them inputs come in tiles of their own
constexpr int64_t kPrefetchBytes = 4096;         // past the page end, where the hardware stops

// Blocks of inputs: `tokens` rows of x from `token`, from block `block`.
struct InputTile {
  const int8_t* q;
  const float* scale;
  const int32_t* start;
  int64_t cols;
  int64_t blocks;  // of a whole row
  int tokens;
};

inline InputTile input_tile(const QuantisedInput& x, int64_t token, int64_t block, int tokens) {
  const int64_t blocks = x.cols / codec::kBlockColumns;
  return {x.q + token * x.cols + block * codec::kBlockColumns,
          x.scale + token * blocks + block,
          x.start + 4 * (token * blocks + block),
          x.cols,
          blocks,
          tokens};
}

// One decoded block of kCount strands times kInputs inputs, `input` the first of them: together
// they are chains enough to hide the latency of the dot products.
template <class Levels, int kCount, int kStride, int kInputs>
inline __attribute__((always_inline)) void multiply_inputs(const Ints (&w)[kCount][kVectors],
                                                           const InputTile& x, int input,
                                                           int64_t block, Floats* sums) {
  const int8_t* q = x.q + input * x.cols + block * codec::kBlockColumns;
  const int64_t at = input * x.blocks + block;
  Ints dots[kInputs][kCount];
  for (int i = 0; i < kInputs; ++i) {
    const int32_t* first = x.start + 4 * (at + i * x.blocks);
    for (Ints& dot : dots[i]) dot = Levels::kOffset == 0 ? zero_ints() : load_for_all_rows(first);
  }
  for (int k = 0; k < kVectors; ++k) {
    for (int i = 0; i < kInputs; ++i) {
      const Ints activations = load_for_all_rows(q + i * x.cols + 16 * k);
      for (int s = 0; s < kCount; ++s) {
        if constexpr (kInputs == 1) {
          dots[i][s] = Levels::dot(dots[i][s], w[s][k], activations);
        } else {
          Levels::add_dot(dots[i][s], w[s][k], activations);
        }
      }
    }
  }
  for (int i = 0; i < kInputs; ++i) {
    const Floats scale = splat(x.scale[at + i * x.blocks]);
    for (int s = 0; s < kCount; ++s) {
      Floats& sum = sums[(input + i) * kStride + s];
      sum = multiply_add(to_floats(dots[i][s]), scale, sum);
    }
  }
}

// The same with every input of the tile.
template <class Levels, int kCount, int kStride>
inline __attribute__((always_inline)) void multiply_block(const Ints (&w)[kCount][kVectors],
                                                          const InputTile& x, int tokens,
                                                          int64_t block, Floats* sums) {
  int t = 0;
  for (; t + 2 <= tokens; t += 2) multiply_inputs<Levels, kCount, kStride, 2>(w, x, t, block, sums);
  if (t < tokens) multiply_inputs<Levels, kCount, kStride, 1>(w, x, t, block, sums);
}

// Blocks [0, blocks) of kStrands strands times a tile of inputs. at[s]: first byte of strand s;
// sums: [tokens, kStrands], added to. kTokens: x.tokens where the compiler should know it, else 0.
template <int kStrands, int kTokens, class Source>
inline __attribute__((always_inline)) void multiply_strands(const Source& source,
                                                            const uint8_t* const (&at)[kStrands],
                                                            int64_t blocks, const InputTile& x,
                                                            Floats* sums) {
  constexpr int kCount = kStrands < kStrandsAtOnce ? kStrands : kStrandsAtOnce;
  const int tokens = kTokens > 0 ? kTokens : x.tokens;
  for (int64_t b = 0; b < blocks; ++b) {
    for (int s = 0; s < kStrands; s += kCount) {
      Ints w[kCount][kVectors];
      for (int i = 0; i < kCount; ++i) source.load(at[s + i] + b * Source::kBlockBytes, w[i]);
      multiply_block<typename Source::Levels, kCount, kStrands>(w, x, tokens, b, sums + s);
    }
  }
}

// Adds up each row's lanes, scales, and stores the rows of a strand that lie before `end`.
inline void store_strand(Floats sums, int64_t row, int64_t end, const float* scale, float unit,
                         const Output& out, int64_t token) {
  float* y = out.y + token * out.stride + row;
  Rows rows = row_sums(sums) * splat_rows(unit);
  if (row + kRowsPerVector <= end) {
    rows = rows * load_rows(scale + row);
    if (out.store == Store::kAdd) rows = rows + load_rows(y);
    return store_rows(y, rows);
  }
  float values[kRowsPerVector];
  store_rows(values, rows);
  for (int64_t i = 0; row + i < end; ++i) {
    const float value = values[i] * scale[row + i];
    y[i] = out.store == Store::kAdd ? y[i] + value : value;
  }
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
