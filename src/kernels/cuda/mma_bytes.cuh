// The tensor cores' product of bytes, 16 rows by 8 columns, 32 deep.
#pragma once

#include <cstdint>

namespace upg::kernels::cuda {

// sums += a * b, of unsigned and of signed bytes. Register 2 e + c of the sums is row lane / 4 + 8
// e, column lane % 4 * 2 + c.
__device__ __forceinline__ void mma_bytes(int (&sums)[4], const uint32_t (&a)[4], uint32_t b0,
                                          uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace upg::kernels::cuda
