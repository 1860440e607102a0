// Copies from global to shared memory that go on while a warp computes.
#pragma once

#include "kernels/cuda/device.cuh"

namespace upg::kernels::cuda {

__device__ __forceinline__ void prefetch_l2(const void* at) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
}

// 16 bytes, of this thread's open group of copies. to: in shared memory.
__device__ __forceinline__ void copy_vector(uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
__device__ __forceinline__ void copy_vector(uint8_t* to, const void* from) {
  copy_vector(static_cast<uint32_t>(__cvta_generic_to_shared(to)), from);
}
// 16 bytes each at 0, 512, 1024 and 1536 from both, those below limit. to: in shared memory. The
// conditions come first, so that none waits for its copy.
__device__ __forceinline__ void copy_strip(uint32_t to, const void* from, int limit) {
  asm volatile(
      "{ .reg .pred a, b, c, d;\n\t"
      "setp.gt.s32 a, %2, 0;\n\tsetp.gt.s32 b, %2, 512;\n\t"
      "setp.gt.s32 c, %2, 1024;\n\tsetp.gt.s32 d, %2, 1536;\n\t"
      "@a cp.async.cg.shared.global [%0], [%1], 16;\n\t"
      "@b cp.async.cg.shared.global [%0 + 512], [%1 + 512], 16;\n\t"
      "@c cp.async.cg.shared.global [%0 + 1024], [%1 + 1024], 16;\n\t"
      "@d cp.async.cg.shared.global [%0 + 1536], [%1 + 1536], 16; }" ::"r"(to),
      "l"(from), "r"(limit)
      : "memory");
}
// 16 bytes, or zeros.
__device__ __forceinline__ void copy_vector_or_zero(uint8_t* to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(there ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void close_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Until all groups but the newest kNewest have arrived, for this thread.
template <int kNewest>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kNewest) : "memory");
}

__device__ __forceinline__ void wait_all_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

}  // namespace upg::kernels::cuda
