#include "kernels/cuda/blas.h"

#include <fmt/format.h>

#include <initializer_list>

#include "base/shared_library.h"
#include "upg/error.h"

namespace upg::kernels::cuda {
namespace {

// Of cublas_api.h, cublas_v2.h and cusolverDn.h.
enum Operation { kPlain = 0, kTranspose = 1 };
constexpr int kLeft = 0;
constexpr int kLower = 0;
constexpr int kUpper = 1;
constexpr int kUnit = 1;
constexpr int kFloat32 = 0;
constexpr int kComputeFloat = 68;
constexpr int kComputeTensor = 77;
constexpr int kDefaultAlgorithm = -1;

constexpr size_t kWorkspace = size_t{64} << 20;

using Create = int (*)(void**);
using Destroy = int (*)(void*);
using SetStream = int (*)(void*, cudaStream_t);
using SetWorkspace = int (*)(void*, void*, size_t);
using Gemm = int (*)(void*, int, int, int, int, int, const void*, const void*, int, int,
                     const void*, int, int, const void*, void*, int, int, int, int);
using Trsm = int (*)(void*, int, int, int, int, int, int, const float*, const float*, int, float*,
                     int);
using PotrfSize = int (*)(void*, int, int, double*, int, int*);
using Potrf = int (*)(void*, int, int, double*, int, double*, int, int*);

base::SharedLibrary open_library(std::initializer_list<const char*> names) {
  base::SharedLibrary library(names);
  if (library.is_found()) return library;
  throw Error(
      ErrorCode::kDevice,
      fmt::format("CUDA: {} is needed for this and is not in the library path", library.name()));
}

int narrow(int64_t x) { return static_cast<int>(x); }

}  // namespace

struct Blas::Libraries {
  Libraries() {
    const base::SharedLibrary blas =
        open_library({"libcublas.so.13", "libcublas.so.12", "libcublas.so.11"});
    blas.find("cublasCreate_v2", create);
    blas.find("cublasDestroy_v2", destroy);
    blas.find("cublasSetStream_v2", set_stream);
    blas.find("cublasSetWorkspace_v2", set_workspace);
    blas.find("cublasGemmEx", gemm);
    blas.find("cublasStrsm_v2", trsm);
    const base::SharedLibrary solver =
        open_library({"libcusolver.so.12", "libcusolver.so.11", "libcusolver.so.13"});
    solver.find("cusolverDnCreate", create_solver);
    solver.find("cusolverDnDestroy", destroy_solver);
    solver.find("cusolverDnSetStream", set_solver_stream);
    solver.find("cusolverDnDpotrf_bufferSize", potrf_size);
    solver.find("cusolverDnDpotrf", potrf);
  }
  Create create, create_solver;
  Destroy destroy, destroy_solver;
  SetStream set_stream, set_solver_stream;
  SetWorkspace set_workspace;
  Gemm gemm;
  Trsm trsm;
  PotrfSize potrf_size;
  Potrf potrf;
};

const Blas::Libraries& Blas::libraries() {
  static const Libraries libraries;
  return libraries;
}

Blas::Blas(cudaStream_t stream)
    : libraries_(libraries()), stream_(stream), workspace_(kWorkspace), info_(sizeof(int)) {
  check_library(libraries_.create(&blas_), "starting cuBLAS");
  check_library(libraries_.set_stream(blas_, stream), "starting cuBLAS");
  check_library(libraries_.set_workspace(blas_, workspace_.as<void>(), kWorkspace),
                "starting cuBLAS");
  check_library(libraries_.create_solver(&solver_), "starting cuSOLVER");
  check_library(libraries_.set_solver_stream(solver_, stream), "starting cuSOLVER");
}

Blas::~Blas() {
  libraries_.destroy_solver(solver_);
  libraries_.destroy(blas_);
}

// The libraries are column-major: they see every matrix transposed, c^T = b^T a^T.
void Blas::multiply(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, float beta,
                    float* c, int64_t c_stride, Precision precision) {
  const float one = 1;
  const auto operation = [](const Factor& factor) {
    return factor.flipped == Flipped::kYes ? kTranspose : kPlain;
  };
  const int compute = precision == Precision::kTensor ? kComputeTensor : kComputeFloat;
  check_library(
      libraries_.gemm(blas_, operation(b), operation(a), narrow(n), narrow(m), narrow(k), &one,
                      b.data, kFloat32, narrow(b.stride), a.data, kFloat32, narrow(a.stride), &beta,
                      c, kFloat32, narrow(c_stride), compute, kDefaultAlgorithm),
      "a product by cuBLAS");
}

void Blas::solve_unit_upper(int64_t m, int64_t n, const float* v, float* x, Flipped v_is) {
  const float one = 1;
  check_library(libraries_.trsm(blas_, kLeft, kLower, v_is == Flipped::kYes ? kTranspose : kPlain,
                                kUnit, narrow(n), narrow(m), &one, v, narrow(n), x, narrow(n)),
                "a triangular solution by cuBLAS");
}

bool Blas::cholesky(int64_t n, double* a) {
  int size = 0;
  check_library(libraries_.potrf_size(solver_, kUpper, narrow(n), a, narrow(n), &size),
                "a factor by cuSOLVER");
  DeviceArray work(sizeof(double) * static_cast<size_t>(size));
  check_library(libraries_.potrf(solver_, kUpper, narrow(n), a, narrow(n), work.as<double>(), size,
                                 info_.as<int>()),
                "a factor by cuSOLVER");
  int info = 0;
  check(cudaMemcpyAsync(&info, info_.as<int>(), sizeof(int), cudaMemcpyDeviceToHost, stream_),
        "a factor");
  check(cudaStreamSynchronize(stream_), "a factor");
  return info == 0;
}

}  // namespace upg::kernels::cuda
