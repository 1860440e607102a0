// The search of path_viterbi.h with one chain a lane, written once over a type of 32-bit lanes. The
// files path_viterbi_<set>.cc supply that type and are compiled with that set's flags; everything
// here has internal linkage, so that no function compiled for one set can be linked into another.
//
// A cost carries the index of the code before in its low four bits, so that the minimum is one
// instruction and finds the index with it. The indices of all codes at a position are packed into
// nibbles: 32 bits for up to eight codes, twice that for sixteen; tracing back is a variable shift.
//
// V: kLanes, from(int32), load(int32*) broadcast, add, sub, mul, and, min, or,
// shift_left<n>, shift_right(v, counts), less(a, b) ? x : y, quantise(floats), store_bytes.
#pragma once

#include "codec/path_viterbi.h"

namespace upg::codec::viterbi {
namespace {

// Two registers side by side: each table entry that is fetched serves both.
constexpr int kUnroll = 2;

template <class V>
struct Trace {
  V low[kUnroll], high[kUnroll];  // codes 0 ... 7, 8 ... 15
};

template <class V, int kStates>
struct Search {
  const Tables& tables;
  V q[kChainLength][kUnroll];
  V cost[kStates][kUnroll];
  Trace<V> before[kChainLength];

  inline __attribute__((always_inline)) void step(int position) {
    V from[kStates][kUnroll];
    for (int s = 0; s < kStates; ++s) {
      const V square = V::broadcast(&tables.b_square[s]);
      const V factor = V::broadcast(&tables.b_factor[s]);
      for (int u = 0; u < kUnroll; ++u) {
        from[s][u] = (cost[s][u].clear_index() + square) - q[position][u] * factor;
      }
    }
    Trace<V>& trace = before[position];
    for (int u = 0; u < kUnroll; ++u) trace.low[u] = trace.high[u] = V::zero();
#pragma GCC unroll 16
    for (int s = 0; s < kStates; ++s) {
      V best[kUnroll];
      const V first = V::broadcast(&tables.cross[s][0]);
      for (int u = 0; u < kUnroll; ++u) best[u] = from[0][u] + first;
#pragma GCC unroll 16
      for (int t = 1; t < kStates; ++t) {
        const V cross = V::broadcast(&tables.cross[s][t]);
        for (int u = 0; u < kUnroll; ++u) best[u] = V::min(best[u], from[t][u] + cross);
      }
      const V square = V::broadcast(&tables.a_square[s]);
      const V factor = V::broadcast(&tables.a_factor[s]);
      for (int u = 0; u < kUnroll; ++u) {
        V& nibbles = s < 8 ? trace.low[u] : trace.high[u];
        nibbles = nibbles | best[u].index().shift_left(4 * (s % 8));
        cost[s][u] = (best[u] + square) - q[position][u] * factor;
      }
    }
  }

  // The code before, given the codes at a position.
  inline __attribute__((always_inline)) V trace_back(int position, int u, V code) const {
    const Trace<V>& trace = before[position];
    if constexpr (kStates <= 8) {
      return trace.low[u].shift_right(code.shift_left(2)).index();
    } else {
      const V nibbles = V::select_bit3(code, trace.high[u], trace.low[u]);
      return nibbles.shift_right(code.low3().shift_left(2)).index();
    }
  }

  inline __attribute__((always_inline)) void closing_codes(V* code) {
    for (int s = 0; s < kStates; ++s) {
      for (int u = 0; u < kUnroll; ++u) cost[s][u] = V::zero();
    }
    for (int i = 0; i < kOpenSteps; ++i) step((kOpenStart + i) % kChainLength);
    for (int u = 0; u < kUnroll; ++u) {
      V best = cost[0][u].clear_index();
      for (int s = 1; s < kStates; ++s) {
        best = V::min(best, cost[s][u].clear_index() | V::all(s));
      }
      code[u] = best.index();
      for (int p = kOpenEnd; p >= 0; --p) code[u] = trace_back(p, u, code[u]);
    }
  }

  inline __attribute__((always_inline)) void start_from(const V* closing) {
    for (int s = 0; s < kStates; ++s) {
      for (int u = 0; u < kUnroll; ++u) {
        cost[s][u] = V::zero_where_equal(closing[u], V::all(s), V::all(kClosed));
      }
    }
  }
};

// 2 x kLanes chains. targets, codes: [16, stride].
template <class V, int kStates>
void search_chains(const Tables& tables, const float* targets, int64_t stride, uint8_t* codes) {
  Search<V, kStates> search{tables, {}, {}, {}};
  for (int p = 0; p < kChainLength; ++p) {
    for (int u = 0; u < kUnroll; ++u) {
      search.q[p][u] = V::quantise(targets + p * stride + u * V::kLanes);
    }
  }
  V code[kUnroll];
  search.closing_codes(code);
  search.start_from(code);
  for (int p = 0; p < kChainLength; ++p) search.step(p);
  for (int u = 0; u < kUnroll; ++u) {
    for (int p = kChainLength - 1; p >= 0; --p) {
      code[u].store_bytes(codes + p * stride + u * V::kLanes);
      code[u] = search.trace_back(p, u, code[u]);
    }
  }
}

template <class V>
void encode_lanes(const PathPalettes& palettes, const float* targets, int64_t count, int64_t stride,
                  uint8_t* codes) {
  const Tables tables = make_tables(palettes);
  auto* search = palettes.bits == 2   ? search_chains<V, 4>
                 : palettes.bits == 3 ? search_chains<V, 8>
                                      : search_chains<V, 16>;
  for (int64_t chain = 0; chain < count; chain += kUnroll * V::kLanes) {
    search(tables, targets + chain, stride, codes + chain);
  }
}

}  // namespace
}  // namespace upg::codec::viterbi
