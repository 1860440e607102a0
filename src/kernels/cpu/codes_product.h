// A product with a matrix whose blocks have a fixed size: what its ways from one input to a whole
// prompt have in common.
#pragma once

#include "kernels/cpu_ops.h"

namespace upg::kernels::UPG_ISA {
namespace {

// A matrix of interleaved rows, the part of it that is asked for, and its inputs.
template <class Input>
struct CodesProduct {
  const uint8_t* codes;  // of row rows.begin
  const float* scale;    // [rows]
  float unit;            // weight = scale * unit * level
  int64_t group_bytes;
  int64_t blocks;
  RowRange rows;
  Input x;
  Output out;
};

// codes: of row 0 of the matrix.
template <class Input>
CodesProduct<Input> codes_product(const void* codes, int block_bytes, const float* scale,
                                  float unit, RowRange rows, const Input& x, const Output& out) {
  const int64_t blocks = (x.cols + codec::kBlockColumns - 1) / codec::kBlockColumns;
  const int64_t group_bytes = blocks * block_bytes;
  const uint8_t* first =
      static_cast<const uint8_t*>(codes) + rows.begin / codec::kGroupRows * group_bytes;
  return {first, scale, unit, group_bytes, blocks, rows, x, out};
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
