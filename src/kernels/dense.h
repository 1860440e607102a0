// Stored matrices as floats, at the speed of memory.
#pragma once

#include <cstdint>

#include "codec/matrix.h"
#include "kernels/cpu_ops.h"

namespace upg::kernels {

// Rows [first, first + count) as floats, [count, cols], the rotation undone: to the last bit what
// codec::decode_rows gives, which is what the codecs without a kernel of their own call.
// Thread-safe.
void decode_rows(const CpuOps& ops, const codec::Matrix& matrix, int64_t first, int64_t count,
                 float* out);
// With the table that create_backend() would take. Throws what select_backend() throws.
void decode_rows(const codec::Matrix& matrix, int64_t first, int64_t count, float* out);

}  // namespace upg::kernels
