// Products of path and int8 matrices with a few inputs: every code is decoded once, in the order of
// memory, and meets all inputs. A thread reads two places far apart: two streams read faster than
// one.
//
// The integers of a block are added up for each row before they become a float, and blocks then
// come one by one, runs of kPanelBlocks after another: the order in which panels add, so that an
// input's result does not depend on how many others come with it.
#pragma once

#include "kernels/cpu/codes_product.h"
#include "kernels/cpu/panel.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kPlaces = 2;
constexpr int kStrands = kPlaces * kStrandsPerGroup;  // side by side
constexpr int kSums = kStrands / kLaneStrands;        // registers of their rows' sums
constexpr int kDecoded = kStrands < kStrandsAtOnce ? kStrands : kStrandsAtOnce;

// Where strands side by side begin. Row r of strand s has lane 4 * r + s % kLaneStrands of register
// s / kLaneStrands.
struct Places {
  const uint8_t* at[kStrands];
  int64_t row[kStrands];
  int64_t end;  // no row from here on is read or stored

  template <class Visit>
  void each_lane(int sum, const Visit& visit) const {
    for (int i = 0; i < kLaneStrands; ++i) {
      const int64_t first = row[sum * kLaneStrands + i];
      for (int r = 0; r < kRowsPerVector && first + r < end; ++r) visit(4 * r + i, first + r);
    }
  }
  Floats gather(int sum, const float* rows) const {
    alignas(64) float lanes[kLanes] = {};
    each_lane(sum, [&](int lane, int64_t r) { lanes[lane] = rows[r]; });
    return load(lanes);
  }
  void scatter(Floats v, int sum, float* rows) const {
    alignas(64) float lanes[kLanes];
    store(lanes, v);
    each_lane(sum, [&](int lane, int64_t r) { rows[r] = lanes[lane]; });
  }
};

// dots[i][s]: a block of kDecoded strands times kInputs inputs from `input` on; together they are
// chains enough to hide the latency of the dot products.
template <class Levels, int kInputs>
inline __attribute__((always_inline)) void multiply_inputs(const Ints (&w)[kDecoded][kVectors],
                                                           const QuantisedInput& x, int64_t input,
                                                           int64_t block,
                                                           Ints (&dots)[kInputs][kDecoded]) {
  const int64_t blocks = x.cols / codec::kBlockColumns;
  const int8_t* q = x.q + input * x.cols + block * codec::kBlockColumns;
  for (int i = 0; i < kInputs; ++i) {
    const int32_t* start = x.start + 4 * ((input + i) * blocks + block);
    for (Ints& dot : dots[i]) dot = Levels::kOffset == 0 ? zero_ints() : load_for_all_rows(start);
  }
#pragma GCC unroll 8
  for (int k = 0; k < kVectors; ++k) {
    for (int i = 0; i < kInputs; ++i) {
      const Ints activations = load_for_all_rows(q + i * x.cols + 16 * k);
      for (int s = 0; s < kDecoded; ++s) {
        if constexpr (kInputs == 1) {
          dots[i][s] = Levels::dot(dots[i][s], w[s][k], activations);
        } else {
          Levels::add_dot(dots[i][s], w[s][k], activations);
        }
      }
    }
  }
}

// The same with `inputs` inputs, into strands [first, first + kDecoded) of dots [inputs].
template <class Levels>
inline __attribute__((always_inline)) void multiply_all_inputs(const Ints (&w)[kDecoded][kVectors],
                                                               const QuantisedInput& x,
                                                               int64_t inputs, int64_t block,
                                                               int first, Ints (*dots)[kStrands]) {
  const auto keep = [&](const auto& of_inputs, int64_t input) {
    for (const auto& of_input : of_inputs) {
      for (int s = 0; s < kDecoded; ++s) dots[input][first + s] = of_input[s];
      ++input;
    }
  };
  int64_t i = 0;
#pragma GCC unroll 2
  for (; i + 2 <= inputs; i += 2) {
    Ints two[2][kDecoded];
    multiply_inputs<Levels>(w, x, i, block, two);
    keep(two, i);
  }
  if (i < inputs) {
    Ints one[1][kDecoded];
    multiply_inputs<Levels>(w, x, i, block, one);
    keep(one, i);
  }
}

// sums[i] += block `block` of all strands times input i.
template <class Source>
inline __attribute__((always_inline)) void multiply_block(const Source& source,
                                                          const Places& places,
                                                          const QuantisedInput& x, int64_t inputs,
                                                          int64_t block, Ints (*dots)[kStrands],
                                                          Floats (*sums)[kSums]) {
#pragma GCC unroll 8
  for (int s = 0; s < kStrands; s += kDecoded) {
    Ints w[kDecoded][kVectors];
    for (int i = 0; i < kDecoded; ++i) {
      source.load(places.at[s + i] + block * Source::kBlockBytes, w[i]);
    }
    multiply_all_inputs<typename Source::Levels>(w, x, inputs, block, s, dots);
  }
  for (int64_t i = 0; i < inputs; ++i) {
    const Floats scale = splat(x.scale[i * (x.cols / codec::kBlockColumns) + block]);
    for (int sum = 0; sum < kSums; ++sum) {
      const Floats products = to_floats(add_lanes(dots[i] + sum * kLaneStrands));
      sums[i][sum] = multiply_add(products, scale, sums[i][sum]);
    }
  }
}

// kInputs: how many there are where the compiler should know it, else 0. A function of its own, so
// that other ways claim no registers.
template <int kInputs, class Source>
__attribute__((noinline)) void multiply_strands(const Source& source,
                                                const CodesProduct<QuantisedInput>& p,
                                                const Places& places) {
  constexpr int kMost = kInputs > 0 ? kInputs : kTileTokens;
  const int64_t inputs = kInputs > 0 ? kInputs : p.x.rows;
  Ints dots[kMost][kStrands];
  Floats sums[kMost][kSums];
  Floats totals[kMost][kSums];
  const bool add = p.out.store == Store::kAdd;
  for (int64_t i = 0; i < inputs; ++i) {
    for (int s = 0; s < kSums; ++s) {
      totals[i][s] = add ? places.gather(s, p.out.y + i * p.out.stride) : zeros();
    }
  }
  for (int64_t begin = 0; begin < p.blocks; begin += kPanelBlocks) {
    const int64_t end = p.blocks - begin < kPanelBlocks ? p.blocks : begin + kPanelBlocks;
    for (int64_t i = 0; i < inputs; ++i) {
      for (Floats& sum : sums[i]) sum = zeros();
    }
    for (int64_t b = begin; b < end; ++b) {
      multiply_block(source, places, p.x, inputs, b, dots, sums);
    }
    for (int s = 0; s < kSums; ++s) {
      const Floats scales = places.gather(s, p.scale);
      for (int64_t i = 0; i < inputs; ++i) {
        totals[i][s] = totals[i][s] + sums[i][s] * splat(p.unit) * scales;
      }
    }
  }
  for (int64_t i = 0; i < inputs; ++i) {
    for (int s = 0; s < kSums; ++s) places.scatter(totals[i][s], s, p.out.y + i * p.out.stride);
  }
}

template <int kInputs, class Source>
void stream_places(const Source& source, const CodesProduct<QuantisedInput>& p) {
  const int64_t rows = p.rows.end - p.rows.begin;
  const int64_t groups = (rows + codec::kGroupRows - 1) / codec::kGroupRows;
  const int64_t half = (groups + 1) / 2;
  for (int64_t g = 0; g < half; ++g) {
    // Of an odd number the middle one comes twice.
    const int64_t group[kPlaces] = {g, g + half < groups ? g + half : g};
    Places places;
    places.end = p.rows.end;
    for (int s = 0; s < kStrands; ++s) {
      const int64_t of_strand = group[s / kStrandsPerGroup];
      const int in_group = s % kStrandsPerGroup;
      places.at[s] = p.codes + of_strand * p.group_bytes + in_group * kStrandBytes;
      places.row[s] = p.rows.begin + of_strand * codec::kGroupRows + in_group * kRowsPerVector;
    }
    multiply_strands<kInputs>(source, p, places);
  }
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
