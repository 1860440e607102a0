// The search of path_feedback.h with one chain a lane, written once over a type of float lanes. The
// files path_feedback_<set>.cc supply that type and are compiled with that set's flags; everything
// here has internal linkage.
//
// V (float lanes), V::Index (int32 lanes), V::Mask: load, all, +, -, *, less(a, b), equal(i, n),
// select(mask, then, otherwise) for both kinds.
#pragma once

#include "codec/path_feedback.h"

namespace upg::codec::feedback {
namespace {

constexpr float kImpossible = 1e30f;

template <class V, int kStates>
struct Search {
  using Index = typename V::Index;
  using Mask = typename V::Mask;

  float level[kStates][kStates];  // [code][code before]
  const ChainMetric& metric;
  V target[kChainLength];
  V cost[kStates];
  V error[2][kStates][kChainLength];  // of the survivor that ends in a code; double-buffered
  Index before[kChainLength][kStates];

  // What is left of the target at a position for the survivor in `state`.
  V corrected(int position, int now, int state) const {
    V t = target[position];
    for (int p = 0; p < position; ++p) {
      t = t - V::all(metric.carry[static_cast<size_t>(p)][static_cast<size_t>(position)]) *
                  error[now][state][p];
    }
    return t;
  }

  // The survivors after one more position.
  void step(int position, int now) {
    const V weight = V::all(metric.weight[static_cast<size_t>(position)]);
    V t[kStates];
    for (int s = 0; s < kStates; ++s) t[s] = corrected(position, now, s);
    V next[kStates];
    for (int c = 0; c < kStates; ++c) next[c] = survive(position, now, c, weight, t);
    for (int c = 0; c < kStates; ++c) cost[c] = next[c];
  }

  // The best way into `code`: keeps its error, its history, where it came from.
  V survive(int position, int now, int code, V weight, const V* t) {
    V best_error = t[0] - V::all(level[code][0]);
    V best = cost[0] + weight * (best_error * best_error);
    Index from = V::index(0);
    for (int s = 1; s < kStates; ++s) {
      const V e = t[s] - V::all(level[code][s]);
      const V total = cost[s] + weight * (e * e);
      const Mask better = V::less(total, best);
      best = V::select(better, total, best);
      best_error = V::select(better, e, best_error);
      from = V::select(better, V::index(s), from);
    }
    before[position][code] = from;
    copy_history(position, now, code, from);
    error[1 - now][code][position] = best_error;
    return best;
  }

  void copy_history(int position, int now, int code, Index from) {
    Mask is[kStates];
    for (int s = 1; s < kStates; ++s) is[s] = V::equal(from, s);
    for (int p = 0; p < position; ++p) {
      V e = error[now][0][p];
      for (int s = 1; s < kStates; ++s) e = V::select(is[s], error[now][s][p], e);
      error[1 - now][code][p] = e;
    }
  }

  // The whole chain with `closing` before position 0 and at position 15; returns its loss.
  V run(Index closing) {
    for (int s = 0; s < kStates; ++s) {
      cost[s] = V::select(V::equal(closing, s), V::all(0.0f), V::all(kImpossible));
    }
    for (int p = 0; p < kChainLength; ++p) step(p, p & 1);
    V final = cost[0];
    for (int s = 1; s < kStates; ++s) final = V::select(V::equal(closing, s), cost[s], final);
    return final;
  }

  void trace(Index code, Index* path) const {
    for (int p = kChainLength - 1; p >= 0; --p) {
      path[p] = code;
      Index from = before[p][0];
      for (int s = 1; s < kStates; ++s) {
        from = V::select(V::equal(code, s), before[p][s], from);
      }
      code = from;
    }
  }
};

// V::kLanes chains. targets, codes: [16, stride].
template <class V, int kStates>
void search_chains(const PathPalettes& palettes, const ChainMetric& metric, Closings closings,
                   const float* targets, int64_t stride, uint8_t* codes) {
  using Index = typename V::Index;
  Search<V, kStates> search{{}, metric, {}, {}, {}, {}};
  for (int c = 0; c < kStates; ++c) {
    for (int s = 0; s < kStates; ++s) {
      search.level[c][s] = static_cast<float>(palettes.a.data()[c] + palettes.b.data()[s]);
    }
  }
  for (int p = 0; p < kChainLength; ++p) search.target[p] = V::load(targets + p * stride);
  Index path[kChainLength];
  if (closings == Closings::kNearest) {
    const Index closing = V::load_index(codes + (kChainLength - 1) * stride);
    search.run(closing);
    search.trace(closing, path);
  } else {
    V best = search.run(V::index(0));
    search.trace(V::index(0), path);
    for (int closing = 1; closing < kStates; ++closing) {
      Index other[kChainLength];
      const V total = search.run(V::index(closing));
      search.trace(V::index(closing), other);
      const auto better = V::less(total, best);
      best = V::select(better, total, best);
      for (int p = 0; p < kChainLength; ++p) path[p] = V::select(better, other[p], path[p]);
    }
  }
  for (int p = 0; p < kChainLength; ++p) V::store_bytes(path[p], codes + p * stride);
}

template <class V>
void encode_lanes(const PathPalettes& palettes, const ChainMetric& metric, Closings closings,
                  const float* targets, int64_t count, int64_t stride, uint8_t* codes) {
  auto* search = palettes.bits == 2   ? search_chains<V, 4>
                 : palettes.bits == 3 ? search_chains<V, 8>
                                      : search_chains<V, 16>;
  for (int64_t chain = 0; chain < count; chain += V::kLanes) {
    search(palettes, metric, closings, targets + chain, stride, codes + chain);
  }
}

}  // namespace
}  // namespace upg::codec::feedback
