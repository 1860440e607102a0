// Products of path and int8 matrices with 1 to kTileTokens inputs where there are 32 registers and
// dot products take four bytes from memory for all lanes. few_strands.h offers the same names.
//
// Up to three inputs meet each decoded strand at once. More of them come as one tile
// (input_tiles.h): kLanes rows are turned so that a lane is a row (tiles.h), and every turned
// register is multiplied with four columns of each input straight from memory; meanwhile the next
// block is decoded, a strand now and then, by instructions for which the dot products leave room.
//
// All ways, and panels too, add the same numbers in the same order: the integers of a block, then
// blocks one by one, then runs of kPanelBlocks of them. An input's result does not depend on how
// many others come with it.
#pragma once

#include "kernels/cpu/codes_product.h"
#include "kernels/cpu/panel.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kFewInputs = 4;  // from which on inputs come in tiles

// ---- one to three inputs -----------------------------------------------------------------------

constexpr int kPlaces = 2;                  // strands read side by side, far apart
constexpr int kBlocksAtOnce = 4 / kPlaces;  // their sums fill one register after add_lanes()
static_assert(kPanelBlocks % kBlocksAtOnce == 0);

// Two strands whose rows' sums lie in one register: lane 4 * row + place.
struct TwoPlaces {
  const uint8_t* at[kPlaces];  // of their first block
  int64_t row[kPlaces];        // of the matrix
  int64_t end;                 // no row from here on is stored

  template <class Visit>
  void each_lane(const Visit& visit) const {
    for (int place = 0; place < kPlaces; ++place) {
      for (int r = 0; r < kRowsPerVector && row[place] + r < end; ++r) {
        visit(4 * r + place, row[place] + r);
      }
    }
  }
  Floats gather(const float* rows) const {
    alignas(64) float lanes[kLanes] = {};
    each_lane([&](int lane, int64_t r) { lanes[lane] = rows[r]; });
    return load(lanes);
  }
  void scatter(Floats v, float* rows) const {
    alignas(64) float lanes[kLanes];
    store(lanes, v);
    each_lane([&](int lane, int64_t r) { rows[r] = lanes[lane]; });
  }
};

// dots[i][first + place]: block `block` times input i.
template <class Source, int kInputs>
inline __attribute__((always_inline)) void multiply_places(const Source& source,
                                                           const TwoPlaces& places,
                                                           const QuantisedInput& x, int64_t block,
                                                           int first, Ints (&dots)[kInputs][4]) {
  using Levels = typename Source::Levels;
  Ints w[kPlaces][kVectors];
  for (int s = 0; s < kPlaces; ++s) source.load(places.at[s] + block * Source::kBlockBytes, w[s]);
#pragma GCC unroll 3
  for (int i = 0; i < kInputs; ++i) {
    const int8_t* q = x.q + i * x.cols + block * codec::kBlockColumns;
    const Ints start =
        load_for_all_rows(x.start + 4 * (i * (x.cols / codec::kBlockColumns) + block));
    Ints sums[kPlaces] = {start, start};
#pragma GCC unroll 8
    for (int k = 0; k < kVectors; ++k) {
      const Ints activations = load_for_all_rows(q + 16 * k);
      for (int s = 0; s < kPlaces; ++s) sums[s] = Levels::dot(sums[s], w[s][k], activations);
    }
    for (int s = 0; s < kPlaces; ++s) dots[i][first + s] = sums[s];
  }
}

// sums[i] += blocks [begin, end) times input i.
template <class Source, int kInputs>
inline __attribute__((always_inline)) void multiply_run(const Source& source,
                                                        const TwoPlaces& places,
                                                        const QuantisedInput& x, int64_t begin,
                                                        int64_t end, Floats (&sums)[kInputs]) {
  const int64_t blocks = x.cols / codec::kBlockColumns;
  for (int64_t b = begin; b < end; b += kBlocksAtOnce) {
    const bool both = b + 1 < end;
    Ints dots[kInputs][4];
    multiply_places(source, places, x, b, 0, dots);
    if (both) {
      multiply_places(source, places, x, b + 1, kPlaces, dots);
    } else {
      for (auto& of_input : dots) of_input[2] = of_input[3] = zero_ints();
    }
#pragma GCC unroll 3
    for (int i = 0; i < kInputs; ++i) {
      const float* scale = x.scale + i * blocks + b;
      const Floats products = to_floats(add_lanes(dots[i]));
      sums[i] = multiply_add(products, splat(scale[0]), sums[i]);
      if (both) sums[i] = multiply_add(upper_pairs(products), splat(scale[1]), sums[i]);
    }
  }
}

template <class Source, int kInputs>
void multiply_two_places(const Source& source, const CodesProduct<QuantisedInput>& p,
                         const TwoPlaces& places) {
  const Floats scales = places.gather(p.scale);
  Floats totals[kInputs];
  for (int i = 0; i < kInputs; ++i) {
    const bool add = p.out.store == Store::kAdd;
    totals[i] = add ? places.gather(p.out.y + i * p.out.stride) : zeros();
  }
  for (int64_t begin = 0; begin < p.blocks; begin += kPanelBlocks) {
    const int64_t end = p.blocks - begin < kPanelBlocks ? p.blocks : begin + kPanelBlocks;
    Floats sums[kInputs];
    for (Floats& sum : sums) sum = zeros();
    multiply_run<Source, kInputs>(source, places, p.x, begin, end, sums);
    for (int i = 0; i < kInputs; ++i) totals[i] = totals[i] + sums[i] * splat(p.unit) * scales;
  }
  for (int i = 0; i < kInputs; ++i) places.scatter(totals[i], p.out.y + i * p.out.stride);
}

// Every code is decoded once, in the order of memory, from two places far apart.
template <class Source, int kInputs>
void stream_places(const Source& source, const CodesProduct<QuantisedInput>& p) {
  const int64_t rows = p.rows.end - p.rows.begin;
  const int64_t groups = (rows + codec::kGroupRows - 1) / codec::kGroupRows;
  const int64_t half = (groups + 1) / 2;
  for (int64_t g = 0; g < half; ++g) {
    // Of an odd number the middle one has nobody beside it.
    const int64_t other = g + half < groups ? g + half : g;
    const TwoPlaces places = {
        {p.codes + g * p.group_bytes, p.codes + other * p.group_bytes},
        {p.rows.begin + g * codec::kGroupRows, p.rows.begin + other * codec::kGroupRows},
        p.rows.end};
    multiply_two_places<Source, kInputs>(source, p, places);
  }
}

// ---- four inputs and more ----------------------------------------------------------------------

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

// ---- both --------------------------------------------------------------------------------------

template <class Source, int kInputs = kTileTokens>
void multiply_few(const Source& source, const CodesProduct<QuantisedInput>& p) {
  if (p.x.rows < kInputs) {
    if constexpr (kInputs > 1) multiply_few<Source, kInputs - 1>(source, p);
  } else if constexpr (kInputs >= kFewInputs) {
    multiply_tile_turned<Source, kInputs>(source, p);
  } else {
    stream_places<Source, kInputs>(source, p);
  }
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
