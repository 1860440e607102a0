// Choosing a token from logits on the device: what the host hands over and what lies there.
//
// A row goes through at most five launches, none of which waits for the host:
//   change    penalties and bias, in place (undone by the last launch)
//   largest   the largest logit, of equal ones the lowest id; anything that is no logit is noted
//   histogram tokens and weight by their distance from the largest logit
//   select    the last token that top-k keeps, then the last that top-p keeps: the histogram says
//             in which bin it lies, the tokens of that bin alone are sorted
//   draw      sums of the weights of what is left by slices of ids, then the walk to the draw
// Weights are summed as integers, so that the order of summing does not matter.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cuda/choice_math.h"

namespace upg::kernels::cuda {

// A row's stages, in device memory.
struct ChoiceRow {
  float temperature;
  float top_p;
  float min_p;
  int32_t top_k;  // 0: off
  uint64_t draw;
  int32_t first_change;
  int32_t changes;
};

inline constexpr int kParts = 64;         // slices of ids
inline constexpr int kMostSorted = 4096;  // tokens of one bin; a row with more is the caller's

// What the launches know of a row. Zero at first.
struct ChoiceState {
  uint64_t best;       // key of the largest logit
  uint64_t threshold;  // tokens of smaller keys are out
  uint64_t total;      // weight of what top-p takes its share of
  uint64_t before;     // weight in the bins before the cut
  uint64_t list[kMostSorted];
  uint64_t sums[kParts];  // of the draw's weights
  uint64_t bin_weights[kBins];
  uint32_t bin_counts[kBins];
  uint32_t listed;
  int32_t cut;       // bin of the last token that the next filter keeps
  int32_t wanted;    // tokens that top-k keeps of that bin; 0: it keeps all tokens there are
  int32_t failed;    // no logits, or too many of them alike
  uint32_t done[4];  // blocks that are through with a launch
};

struct ChoiceArguments {
  float* logits;  // [rows, vocabulary]
  int64_t vocabulary;
  int rows;
  int bits;                    // weight_bits(vocabulary)
  const ChoiceRow* plan;       // [rows]
  ChoiceState* states;         // [rows]
  const LogitChange* changes;  // of all rows
  float* before;               // [changes]: the logits as they were
  int32_t* ids;                // [rows], out: -1 where the caller must choose
};

struct ChoiceStages {
  int most_changes = 0;  // of a row
  bool top_k = false;
  bool top_p = false;
};

// Queues what any of the rows needs; returns the number of launches.
int choose_ids(const ChoiceArguments& arguments, const ChoiceStages& stages, cudaStream_t stream);

}  // namespace upg::kernels::cuda
