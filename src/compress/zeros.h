// Checkpoints that are already sparse: their matrices keep the zeros they came with.
//
// A matrix counts as sparse when the smallest codec that can keep its zeros is as small as what the
// profile would give it, but for the 4 % by which 10x may exceed its 3-bit paths (3.12 bits). A
// zero saves a 4-bit code and a bitmap costs a bit a weight: in place of path3 that is from 47 % of
// zeros, in place of path4 from 21 %. Dense weights have next to none.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "base/tensor_view.h"
#include "base/threads.h"
#include "compress/plan.h"
#include "upg/compress.h"

namespace upg::compression {

// What a matrix stores when it stores exactly its weights that are not zero.
struct NonzeroCount {
  int64_t weights = 0;
  int64_t sparse_codes = 0;   // each group of 4 rows rounded up to two
  int64_t mdcsr_entries = 0;  // with those that bridge gaps above 255
};

// Reads the whole matrix once. release: told of bytes that will not be read again soon; may be
// empty. The same for any number of threads.
NonzeroCount count_nonzeros(const base::TensorView& view, int64_t rows, int64_t cols,
                            base::ThreadTeam& team,
                            const std::function<void(std::span<const std::byte>)>& release);

// How a matrix that `planned` would store keeps its zeros instead; nothing when it is not sparse.
std::optional<Storage> storage_with_zeros(const Storage& planned, const NonzeroCount& count,
                                          int64_t rows, int64_t cols);

// Gives the matrices that are sparse in the source a codec that keeps their zeros, where the
// profile does so and no --tensor names them, and brings plan.summary up to date. Reads some rows
// of every such matrix, and all of those that show zeros.
void keep_zeros(Plan& plan, const CompressOptions& options);

}  // namespace upg::compression
