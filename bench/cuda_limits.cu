#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cuda_limits.h"

namespace upg::bench {
namespace {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(status));
  std::exit(1);
}

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

// bf16 values between a half and two, either sign.
__global__ void fill_kernel(uint32_t* data, int64_t count) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    uint64_t z = static_cast<uint64_t>(i) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    data[i] = (static_cast<uint32_t>(z >> 32) & 0x80ff80ffu) | 0x3f003f00u;
  }
}

class Timer {
 public:
  Timer() {
    cudaEventCreate(&begin_);
    cudaEventCreate(&end_);
  }
  ~Timer() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  template <class Body>
  double median(cudaStream_t stream, int runs, const Body& body) {
    std::vector<double> seconds;
    body();
    for (int i = 0; i < runs; ++i) {
      cudaEventRecord(begin_, stream);
      body();
      cudaEventRecord(end_, stream);
      check(cudaEventSynchronize(end_), "measuring");
      float milliseconds = 0;
      cudaEventElapsedTime(&milliseconds, begin_, end_);
      seconds.push_back(milliseconds / 1e3);
    }
    std::sort(seconds.begin(), seconds.end());
    return seconds[seconds.size() / 2];
  }

 private:
  cudaEvent_t begin_;
  cudaEvent_t end_;
};

// The four functions of cuBLAS's C interface that are called, from the library if it is there.
struct Cublas {
  using Create = int (*)(void**);
  using SetStream = int (*)(void*, cudaStream_t);
  using SetWorkspace = int (*)(void*, void*, size_t);
  using Gemm = int (*)(void*, int, int, int, int, int, const void*, const void*, int, int,
                       const void*, int, int, const void*, void*, int, int, int, int);
  void* library = nullptr;
  Create create = nullptr;
  SetStream set_stream = nullptr;
  SetWorkspace set_workspace = nullptr;
  Gemm gemm = nullptr;

  Cublas() {
    for (const char* name : {"libcublas.so.13", "libcublas.so.12", "libcublas.so"}) {
      if ((library = dlopen(name, RTLD_NOW)) != nullptr) break;
    }
    if (library == nullptr) return;
    create = reinterpret_cast<Create>(dlsym(library, "cublasCreate_v2"));
    set_stream = reinterpret_cast<SetStream>(dlsym(library, "cublasSetStream_v2"));
    set_workspace = reinterpret_cast<SetWorkspace>(dlsym(library, "cublasSetWorkspace_v2"));
    gemm = reinterpret_cast<Gemm>(dlsym(library, "cublasGemmEx"));
  }
};

}  // namespace

double measure_device_read() {
  constexpr int64_t kBytes = int64_t{4} << 30;
  void* data = nullptr;
  check(cudaMalloc(&data, kBytes), "memory to read");
  check(cudaMemset(data, 1, kBytes), "memory to read");
  int multiprocessors = 0;
  cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0);
  Timer timer;
  const double seconds = timer.median(nullptr, 9, [&] {
    read_kernel<<<multiprocessors * 4, 512>>>(static_cast<const uint4*>(data), kBytes / 16,
                                              static_cast<uint32_t*>(data));
  });
  cudaFree(data);
  return static_cast<double>(kBytes) / seconds;
}

double measure_cublas_chain(std::span<const Product> products, int inputs, std::string& problem) {
  const Cublas cublas;
  if (cublas.gemm == nullptr) {
    problem = "libcublas is not in the library path";
    return -1;
  }
  int64_t weights = 0;
  int64_t most = 0;
  for (const Product& p : products) {
    weights += p.rows * p.cols;
    most = std::max({most, p.rows, p.cols});
  }
  void* w = nullptr;
  void* x = nullptr;
  void* y = nullptr;
  void* workspace = nullptr;
  constexpr size_t kWorkspace = size_t{64} << 20;
  check(cudaMalloc(&w, static_cast<size_t>(2 * weights)), "bf16 weights");
  check(cudaMalloc(&x, static_cast<size_t>(2 * most * inputs)), "inputs");
  check(cudaMalloc(&y, static_cast<size_t>(2 * most * inputs)), "outputs");
  check(cudaMalloc(&workspace, kWorkspace), "workspace");
  fill_kernel<<<1056, 512>>>(static_cast<uint32_t*>(w), weights / 2);
  fill_kernel<<<1056, 512>>>(static_cast<uint32_t*>(x), most * inputs / 2);
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "stream");
  void* handle = nullptr;
  cublas.create(&handle);
  cublas.set_stream(handle, stream);
  cublas.set_workspace(handle, workspace, kWorkspace);
  const float one = 1;
  const float zero = 0;
  constexpr int kTranspose = 1, kPlain = 0, kBf16 = 14, kFloat32 = 68, kDefault = -1;
  int status = 0;
  const auto chain = [&] {
    auto* at = static_cast<__nv_bfloat16*>(w);
    for (const Product& p : products) {
      const auto rows = static_cast<int>(p.rows);
      const auto cols = static_cast<int>(p.cols);
      status |= cublas.gemm(handle, kTranspose, kPlain, rows, inputs, cols, &one, at, kBf16, cols,
                            x, kBf16, cols, &zero, y, kBf16, rows, kFloat32, kDefault);
      at += p.rows * p.cols;
    }
  };
  check(cudaDeviceSynchronize(), "filling");
  chain();
  check(cudaStreamSynchronize(stream), "cuBLAS");
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  chain();
  check(cudaStreamEndCapture(stream, &graph), "capture");
  check(cudaGraphInstantiate(&executable, graph, 0), "graph");
  Timer timer;
  const double seconds =
      timer.median(stream, 9, [&] { check(cudaGraphLaunch(executable, stream), "graph"); });
  if (status != 0) problem = "cuBLAS refused a product";
  for (void* memory : {w, x, y, workspace}) cudaFree(memory);
  return status == 0 ? seconds : -1;
}

}  // namespace upg::bench
