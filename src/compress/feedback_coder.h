// Codes the rows of a matrix as paths against its inputs: error feedback, then descent.
//
// First pass (LDLQ / GPTQ in blocks of a chain): the columns in the order of the problem, each
// chain's targets moved by what the chains before it got wrong, the codes found by the search with
// feedback inside the chain. Then rounds of coordinate descent: every chain again, against the
// errors of all others, kept where the quadratic loss falls; after each round the row's scale by
// least squares. Rows are independent: any chunk of them gives the same codes.
#pragma once

#include <cstdint>
#include <vector>

#include "codec/path_assembly.h"
#include "codec/path_palette.h"
#include "compress/coding_problem.h"

namespace upg::compression {

struct CodingOptions {
  float drift_share = 0.5f;  // how far targets move towards undoing earlier layers' errors
  int rounds = 2;            // of descent
  bool all_closings = true;  // try every closing code of a chain (path4: the nearest only)
};

// Sums over the coded rows, for reports and for choosing bits.
struct CodingLoss {
  double loss = 0;   // (t - q) H (t - q)^T
  double power = 0;  // t H t^T
};

class FeedbackCoder {
 public:
  FeedbackCoder(const CodingProblem& problem, const codec::PathFit& fit,
                const CodingOptions& options);

  // rows: [count, cols] weights in the basis of the codes (rotated, padded), columns in storage
  // order. Writes codes and scales of rows first_row ... to `out`. Thread-safe for disjoint rows.
  CodingLoss code(int64_t first_row, int64_t count, const float* rows,
                  codec::PathAssembly& out) const;

 private:
  struct Chunk;
  void first_pass(Chunk& chunk) const;
  void code_chain(Chunk& chunk, int64_t chain) const;
  void descend(Chunk& chunk) const;
  void improve_chain(Chunk& chunk, int64_t chain) const;
  void take_if_better(Chunk& chunk, int64_t chain, int64_t row) const;
  void refit_scales(Chunk& chunk) const;
  CodingLoss loss_of(Chunk& chunk) const;

  const CodingProblem& problem_;
  codec::PathFit fit_;
  CodingOptions options_;
  codec::Closings closings_;
};

}  // namespace upg::compression
