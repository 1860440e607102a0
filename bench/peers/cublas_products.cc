#include "peers/cublas_products.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/float16.h"
#include "base/shared_library.h"
#include "upg/error.h"

namespace upg::bench {
namespace {

using kernels::cuda::check;
using kernels::cuda::check_library;

// Of cublas_api.h and library_types.h.
constexpr int kTranspose = 1, kPlain = 0, kBf16 = 14, kComputeFloat = 68, kDefaultAlgorithm = -1;
constexpr size_t kWorkspace = size_t{64} << 20;

struct Cublas {
  base::SharedLibrary library{"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
  int (*create)(void**) = nullptr;
  int (*destroy)(void*) = nullptr;
  int (*set_stream)(void*, cudaStream_t) = nullptr;
  int (*set_workspace)(void*, void*, size_t) = nullptr;
  int (*gemm)(void*, int, int, int, int, int, const void*, const void*, int, int, const void*, int,
              int, const void*, void*, int, int, int, int) = nullptr;

  Cublas() {
    if (!library.is_found()) return;
    library.find("cublasCreate_v2", create);
    library.find("cublasDestroy_v2", destroy);
    library.find("cublasSetStream_v2", set_stream);
    library.find("cublasSetWorkspace_v2", set_workspace);
    library.find("cublasGemmEx", gemm);
  }
};

const Cublas& cublas() {
  static const Cublas one;
  return one;
}

float dot(std::span<const uint16_t> a, std::span<const uint16_t> b) {
  float sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += base::bf16_to_float(a[i]) * base::bf16_to_float(b[i]);
  }
  return sum;
}

}  // namespace

bool has_cublas() { return cublas().library.is_found(); }

CublasProducts::CublasProducts(std::span<const Product> products, int inputs)
    : products_(products.begin(), products.end()), inputs_(inputs) {
  if (!has_cublas()) throw Error(ErrorCode::kDevice, "libcublas is not in the library path");
  int64_t weights = 0;
  int64_t most = 0;
  for (const Product& product : products_) {
    begins_.push_back(weights);
    weights += product.rows * product.cols;
    most = std::max({most, product.rows, product.cols});
  }
  w_ = kernels::cuda::DeviceArray(static_cast<size_t>(2 * weights));
  x_ = kernels::cuda::DeviceArray(static_cast<size_t>(2 * most * inputs));
  y_ = kernels::cuda::DeviceArray(static_cast<size_t>(2 * most * inputs));
  workspace_ = kernels::cuda::DeviceArray(kWorkspace);
  fill_random(w_, Half::kBf16, stream_.get());
  fill_random(x_, Half::kBf16, stream_.get());
  void* handle = nullptr;
  check_library(cublas().create(&handle), "starting cuBLAS");
  handle_ = {handle, cublas().destroy};
  check_library(cublas().set_stream(handle, stream_.get()), "starting cuBLAS");
  check_library(cublas().set_workspace(handle, workspace_.as<void>(), kWorkspace),
                "starting cuBLAS");
  check_first();
}

CublasProducts::~CublasProducts() {
  if (chain_ != nullptr) cudaGraphExecDestroy(chain_);
}

// Weights row-major, vectors one after the other: cuBLAS, column-major, sees the transpose.
void CublasProducts::multiply(size_t index) {
  const auto rows = static_cast<int>(products_[index].rows);
  const auto cols = static_cast<int>(products_[index].cols);
  const float one = 1;
  const float zero = 0;
  check_library(
      cublas().gemm(handle_.get(), kTranspose, kPlain, rows, inputs_, cols, &one,
                    w_.as<uint16_t>() + begins_[index], kBf16, cols, x_.as<void>(), kBf16, cols,
                    &zero, y_.as<void>(), kBf16, rows, kComputeFloat, kDefaultAlgorithm),
      "a product by cuBLAS");
}

void CublasProducts::check_first() {
  multiply(0);
  std::vector<uint16_t> w(static_cast<size_t>(products_[0].cols)), x(w.size());
  uint16_t y = 0;
  stream_.wait();
  check(cudaMemcpy(w.data(), w_.as<void>(), 2 * w.size(), cudaMemcpyDeviceToHost), "a row");
  check(cudaMemcpy(x.data(), x_.as<void>(), 2 * x.size(), cudaMemcpyDeviceToHost), "a vector");
  check(cudaMemcpy(&y, y_.as<void>(), 2, cudaMemcpyDeviceToHost), "a result");
  const float want = dot(w, x);
  const float found = base::bf16_to_float(y);
  if (!(std::abs(found - want) <= 0.01f * std::abs(want) + 0.1f)) {
    throw Error(ErrorCode::kDevice, fmt::format("cuBLAS: found {}, expected {}", found, want));
  }
}

double CublasProducts::time_products(int64_t count) {
  return stream_.time([&] {
    for (int64_t i = 0; i < count; ++i) {
      multiply(next_);
      next_ = (next_ + 1) % products_.size();
    }
  });
}

cudaGraphExec_t CublasProducts::chain() {
  if (chain_ != nullptr) return chain_;
  const auto all = [&] {
    for (size_t i = 0; i < products_.size(); ++i) multiply(i);
  };
  all();  // what it sets up for a shape cannot be captured
  stream_.wait();
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal), "a graph");
  all();
  check(cudaStreamEndCapture(stream_.get(), &graph), "a graph");
  const cudaError_t status = cudaGraphInstantiate(&chain_, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "a graph");
  return chain_;
}

double CublasProducts::time_chains(int64_t count) {
  cudaGraphExec_t all = chain();
  return stream_.time([&] {
    for (int64_t i = 0; i < count; ++i) check(cudaGraphLaunch(all, stream_.get()), "a graph");
  });
}

}  // namespace upg::bench
