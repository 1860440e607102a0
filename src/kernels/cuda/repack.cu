// `sparse` coded again as path4 with one palette. A warp a row group: its codes lie row by row, so
// where a block's begin follows from a running count of the bits before it.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/launch.h"

namespace upg::kernels::cuda {
namespace {

// The code of each column of a block (0 where there is none), column c at nibble c.
struct BlockCodes {
  uint32_t words[16];
};

__device__ BlockCodes expand(uint4 mask, const uint8_t* codes, int64_t nibble) {
  const uint32_t masks[4] = {mask.x, mask.y, mask.z, mask.w};
  BlockCodes out = {};
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    if ((masks[c / 32] >> (c % 32) & 1) == 0) continue;
    const uint32_t code = codes[nibble / 2] >> (4 * (nibble % 2)) & 15u;
    out.words[c / 8] |= code << (4 * (c % 8));
    ++nibble;
  }
  return out;
}

// Byte i of vector v: column 32 v + i below, column 32 v + 16 + i above.
__device__ void store(const BlockCodes& block, uint8_t* at) {
#pragma unroll
  for (int v = 0; v < 4; ++v) {
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const uint32_t low = block.words[4 * v + i / 8] >> (4 * (i % 8)) & 15u;
      const uint32_t high = block.words[4 * v + 2 + i / 8] >> (4 * (i % 8)) & 15u;
      at[64 * v + i] = static_cast<uint8_t>(low | high << 4);
    }
  }
}

__global__ void sparse_kernel(const uint8_t* masks, const uint8_t* codes, const uint32_t* offsets,
                              int64_t blocks, uint8_t* out) {
  const int64_t group = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x);
  int64_t nibble = 2 * static_cast<int64_t>(offsets[group]);
  for (int row = 0; row < codec::kGroupRows; ++row) {
    const auto* row_masks =
        reinterpret_cast<const uint4*>(masks) + (group * codec::kGroupRows + row) * blocks;
    for (int64_t first = 0; first < blocks; first += kWarp) {
      const int64_t block = first + lane;
      const uint4 mask = block < blocks ? row_masks[block] : uint4{0, 0, 0, 0};
      const int own = __popc(mask.x) + __popc(mask.y) + __popc(mask.z) + __popc(mask.w);
      int sum = own;
#pragma unroll
      for (int step = 1; step < kWarp; step *= 2) {
        const int before = __shfl_up_sync(kAllLanes, sum, step);
        if (lane >= step) sum += before;
      }
      if (block < blocks) {
        store(expand(mask, codes, nibble + sum - own),
              out + ((group * blocks + block) * 4) * 64 + row * 16);
      }
      nibble += __shfl_sync(kAllLanes, sum, kWarp - 1);
    }
  }
}

__global__ void widen_kernel(const uint16_t* in, int64_t count, bool bf16, float* out) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    out[i] = bf16 ? bf16_bits_to_float(in[i]) : half_bits_to_float(in[i]);
  }
}

}  // namespace

void sparse_to_path4(const uint8_t* masks, const uint8_t* codes, const uint32_t* offsets,
                     int64_t row_groups, int64_t blocks, uint8_t* out, cudaStream_t stream) {
  sparse_kernel<<<static_cast<unsigned>(row_groups), kWarp, 0, stream>>>(masks, codes, offsets,
                                                                         blocks, out);
}

void widen(const MatrixView& w, float* out, cudaStream_t stream) {
  widen_kernel<<<2048, 256, 0, stream>>>(reinterpret_cast<const uint16_t*>(w.codes),
                                         w.rows * w.cols, w.kind == Kind::kBF16, out);
}

}  // namespace upg::kernels::cuda
