// What the sparse codec's files share: the tensors' shapes and the encoder.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/checked.h"
#include "codec/codec.h"

namespace upg::codec {

// Bytes of codes when every row stores `keep` weights.
int64_t sparse_code_bytes(int64_t rows, int64_t keep);
// codes, mask, offsets, palette, scale; code_bytes is rounded up to 64.
std::vector<PartSpec> sparse_parts(int64_t rows, int64_t cols, int64_t code_bytes);

std::unique_ptr<Encoder> make_sparse_encoder(int64_t rows, int64_t cols, int64_t stored_cols,
                                             const EncodeOptions& options);

}  // namespace upg::codec
