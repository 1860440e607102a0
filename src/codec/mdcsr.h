// What the mdcsr codec's files share.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "codec/codec.h"

namespace upg::codec {

// values, delta_indices, row_pointers, prime_indices, scales.
std::vector<PartSpec> mdcsr_parts(int64_t rows, int64_t nonzeros);

std::unique_ptr<Encoder> make_mdcsr_encoder(int64_t rows, int64_t cols, int64_t stored_cols,
                                            double sparsity);

// The product (value / 127) * (prime / 104729) that comes nearest to a share of the row's scale.
struct MdcsrProduct {
  int8_t value = 0;  // 0 when zero is nearest
  uint16_t prime_index = 0;
};
MdcsrProduct nearest_product(double share);  // -1 ... 1

}  // namespace upg::codec
