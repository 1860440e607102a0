#include "cuda_device.h"

namespace upg::bench {
namespace {

using kernels::cuda::check;
using kernels::cuda::DeviceArray;

__global__ void read_kernel(const uint4* data, int64_t count, uint32_t* out) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  uint32_t sum = 0;
  int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (; i + 7 * stride < count; i += 8 * stride) {
    uint4 v[8];
#pragma unroll
    for (int u = 0; u < 8; ++u) v[u] = __ldcs(data + i + u * stride);
#pragma unroll
    for (int u = 0; u < 8; ++u) sum ^= v[u].x ^ v[u].y ^ v[u].z ^ v[u].w;
  }
  if (sum == 0x12345678u) *out = sum;
}

// Two halves a word: the bits of `keep` are random, those of `set` are set.
__global__ void fill_kernel(uint32_t* data, int64_t count, uint32_t keep, uint32_t set) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    uint64_t z = static_cast<uint64_t>(i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    data[i] = (static_cast<uint32_t>(z >> 32) & keep) | set;
  }
}

}  // namespace

void fill_random(const DeviceArray& memory, Half type, cudaStream_t stream) {
  const uint32_t keep = type == Half::kF16 ? 0x83ff83ffu : 0x80ff80ffu;
  const uint32_t set = type == Half::kF16 ? 0x38003800u : 0x3f003f00u;
  fill_kernel<<<1056, 512, 0, stream>>>(memory.as<uint32_t>(),
                                        static_cast<int64_t>(memory.bytes() / 4), keep, set);
  check(cudaGetLastError(), "filling");
}

DeviceStream::DeviceStream() { check(cudaStreamCreate(&stream_), "cannot create a stream"); }
DeviceStream::~DeviceStream() { cudaStreamDestroy(stream_); }
void DeviceStream::wait() const { check(cudaStreamSynchronize(stream_), "waiting for the device"); }

DeviceReader::DeviceReader(int64_t bytes) : data_(static_cast<size_t>(bytes)), out_(4) {
  check(cudaMemsetAsync(data_.as<void>(), 1, data_.bytes(), stream_.get()), "memory to read");
  check(cudaDeviceGetAttribute(&blocks_, cudaDevAttrMultiProcessorCount, 0), "multiprocessors");
  blocks_ *= 4;
}

double DeviceReader::time(int64_t passes) const {
  return stream_.time([&] {
    for (int64_t i = 0; i < passes; ++i) {
      read_kernel<<<blocks_, 512, 0, stream_.get()>>>(
          data_.as<uint4>(), static_cast<int64_t>(data_.bytes() / 16), out_.as<uint32_t>());
    }
    check(cudaGetLastError(), "reading");
  });
}

}  // namespace upg::bench
