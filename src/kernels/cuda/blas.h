// cuBLAS and cuSOLVER, found when they are first asked for: the command runs without them.
//
// Matrices are row-major here, in device memory, leading dimensions in elements. Calls are queued
// on the stream; each throws Error(kDevice) when the library refuses it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>

#include "kernels/cuda/runtime.h"

namespace upg::kernels::cuda {

enum class Flipped : bool { kNo, kYes };
// kTensor: factors are rounded to 11 bits (TF32) for the tensor cores, sums stay float32.
enum class Precision { kFloat, kTensor };

class Blas {
 public:
  // Throws Error(kDevice) where the libraries are not in the library path.
  explicit Blas(cudaStream_t stream);
  ~Blas();
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;

  // c [m, n] = a [m, k] b [k, n] + beta c; a as stored [k, m], b as stored [n, k] when flipped.
  struct Factor {
    const float* data;
    int64_t stride;
    Flipped flipped = Flipped::kNo;
  };
  void multiply(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, float beta,
                float* c, int64_t c_stride, Precision precision = Precision::kFloat);
  // x [m, n] = x v^-1, or x v^-T, in place; v [n, n] upper triangular, its diagonal taken as ones.
  void solve_unit_upper(int64_t m, int64_t n, const float* v, float* x, Flipped v_is);
  // The lower factor of a [n, n] in place; false when it is not positive definite. Waits for it.
  bool cholesky(int64_t n, double* a);

 private:
  struct Libraries;
  static const Libraries& libraries();

  const Libraries& libraries_;
  cudaStream_t stream_;
  void* blas_ = nullptr;
  void* solver_ = nullptr;
  DeviceArray workspace_;
  DeviceArray info_;
};

}  // namespace upg::kernels::cuda
