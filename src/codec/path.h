// What the path codec's files share: the tensors' shapes and the encoder.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "codec/codec.h"

namespace upg::codec {

std::vector<PartSpec> path_parts(int bits, int64_t rows, int64_t cols);  // codes, palette, scale

// stored_cols: cols or padded_cols(cols).
std::unique_ptr<Encoder> make_path_encoder(int bits, int64_t rows, int64_t cols,
                                           int64_t stored_cols);

}  // namespace upg::codec
