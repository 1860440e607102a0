// One matrix as sparse, coded against the problem its inputs pose.
//
// Which weights are stored and what they become is found by descent on the loss tr((T - Q) H (T -
// Q)^T), T the weights moved half way towards undoing the earlier layers' errors: first with values
// of any kind, then with the levels fitted to those, then at an exact number of weights a row
// (compress/sparse_descent.h). Where the source is zero the code is too.
#pragma once

#include "compress/coding_problem.h"
#include "compress/encode.h"
#include "compress/feedback_coder.h"

namespace upg::compression {

struct SparseCodingOptions {
  float drift_share = 0.5f;  // how far targets move towards undoing earlier layers' errors
  int choosing_rounds = 4;   // with values of any kind
  int level_rounds = 6;      // with levels
  int last_rounds = 2;       // with levels, what is stored unchanged
};

// As encode_matrix, for the sparse codec: same checks, same parts, same independence of threads.
// problem: in the plain basis. loss: sums over all rows.
EncodedMatrix encode_sparse_calibrated(const SourceMatrix& source, const Storage& storage,
                                       const CodingProblem& problem,
                                       const SparseCodingOptions& options, base::ThreadTeam& team,
                                       const Tick& tick, CodingLoss& loss);

}  // namespace upg::compression
