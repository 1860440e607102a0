// Products with 1 to kTileTokens inputs where there are 32 registers and dot products take four
// bytes from memory for all lanes. few_strands.h offers the same names.
//
// Up to three inputs meet the strands as they are decoded (places.h). More of them come as one tile
// (input_tiles.h): kLanes rows are turned so that a lane is a row (tiles.h), and every turned
// register is multiplied with four columns of each input straight from memory; meanwhile the next
// block is decoded, a strand now and then, by instructions for which the dot products leave room.
#pragma once

#include "kernels/cpu/places.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kOneTileFrom = 4;  // inputs

using Decoded = Ints[kStrandsTurned][kVectors];  // one block of kLanes rows

// Strand s of a block of kLanes rows, whose first group begins at `block`. A strand's next bytes
// for this thread lie in the next kLanes rows: these are what is fetched ahead.
template <class Source>
inline __attribute__((always_inline)) void decode_strand(const Source& source, const uint8_t* block,
                                                         int64_t group_bytes, int s, Decoded& to) {
  source.load(block + s / kStrandsPerGroup * group_bytes + s % kStrandsPerGroup * kStrandBytes,
              to[s], kLanes / codec::kGroupRows * group_bytes);
}

// sums[i] += the block times input i, while the one at `next` is decoded. q: of the tile, at the
// block's first column; scale, start: of the block and the first input, `blocks` apart. A function
// of its own, so that the sums of other blocks claim no registers.
template <class Source, int kInputs>
__attribute__((noinline)) void multiply_turned_block(const Source& source, const Decoded& block,
                                                     const int8_t* q, const float* scale,
                                                     const int32_t* start, int64_t blocks,
                                                     const uint8_t* next, int64_t group_bytes,
                                                     Decoded& decoded, Floats (&sums)[kInputs]) {
  constexpr int kEvery = kVectors / kStrandsTurned;
  Ints dots[kInputs];
#pragma GCC unroll 16
  for (int i = 0; i < kInputs; ++i) {
    dots[i] = load_for_all_lanes(start + 4 * i * blocks);
  }
#pragma GCC unroll 1
  for (int k = 0; k < kVectors; ++k) {
    Ints words[kStrandsTurned] = {block[0][k], block[1][k], block[2][k], block[3][k]};
    transpose_words(words);
    if (k % kEvery == kEvery - 1) {
      decode_strand(source, next, group_bytes, k / kEvery, decoded);
    }
#pragma GCC unroll 4
    for (int j = 0; j < kStrandsTurned; ++j, q += 4 * kInputs) {
#pragma GCC unroll 16
      for (int i = 0; i < kInputs; ++i) add_dot_of_word(dots[i], words[j], q + 4 * i);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kInputs; ++i) {
    sums[i] = multiply_add(to_floats(dots[i]), splat(scale[i * blocks]), sums[i]);
  }
}

template <class Source, int kInputs>
void multiply_tile_turned(const Source& source, const CodesProduct<QuantisedInput>& p) {
  const int64_t tile_bytes = kLanes / codec::kGroupRows * p.group_bytes;
  const int64_t last = (p.rows.end - p.rows.begin - 1) / kLanes;
  alignas(64) Decoded decoded[2];
  int now = 0;
  for (int s = 0; s < kStrandsTurned; ++s) {
    decode_strand(source, p.codes, p.group_bytes, s, decoded[now]);
  }
  Floats sums[kInputs];
  for (int64_t tile = 0; tile <= last; ++tile) {
    const uint8_t* at = p.codes + tile * tile_bytes;
    const TurnedRows rows = {p.rows.begin + tile * kLanes, p.rows.end, p.scale, p.unit};
    for (int64_t b = 0; b < p.blocks; ++b) {
      if (b % kPanelBlocks == 0) {
        for (Floats& sum : sums) sum = zeros();
      }
      // After a row's last block the next row's first; the very last is decoded twice.
      const uint8_t* next = b + 1 < p.blocks ? at + (b + 1) * Source::kBlockBytes
                            : tile < last    ? at + tile_bytes
                                             : at;
      multiply_turned_block<Source, kInputs>(
          source, decoded[now], p.x.tiled + b * codec::kBlockColumns * kInputs, p.x.scale + b,
          p.x.start + 4 * b, p.blocks, next, p.group_bytes, decoded[1 - now], sums);
      now = 1 - now;
      if ((b + 1) % kPanelBlocks != 0 && b + 1 < p.blocks) continue;
      const Output out = {p.out.y, p.out.stride, b < kPanelBlocks ? p.out.store : Store::kAdd};
      for (int i = 0; i < kInputs; ++i) store_turned(sums[i], rows.begin, rows, out, i);
    }
  }
}

template <class Source, int kInputs = kTileTokens>
void multiply_few(const Source& source, const CodesProduct<QuantisedInput>& p) {
  if (p.x.rows < kInputs) {
    if constexpr (kInputs > 1) multiply_few<Source, kInputs - 1>(source, p);
  } else if constexpr (kInputs >= kOneTileFrom) {
    multiply_tile_turned<Source, kInputs>(source, p);
  } else {
    stream_places<kInputs>(source, p);
  }
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
