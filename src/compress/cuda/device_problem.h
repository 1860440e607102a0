// A matrix's problem in a GPU's memory, and the coding of its rows there.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "compress/calibration_device.h"
#include "compress/cuda/calibration_kernels.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/runtime.h"

namespace upg::compression::cuda {

using kernels::cuda::Blas;
using kernels::cuda::DeviceArray;
using kernels::cuda::PinnedArray;

// One GPU, one stream; the thread that calls is on that device.
struct Gpu {
  explicit Gpu(int device);
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;
  void check_launches(std::string_view what) const;
  void wait(std::string_view what) const;
  void download(void* to, const void* from, size_t bytes) const;  // waits
  void upload(void* to, const void* from, size_t bytes) const;

  int device;
  cudaStream_t stream = nullptr;
  std::optional<Blas> blas;
};

// In the basis of the codes; columns not yet in their order.
struct DeviceMoments {
  int64_t cols = 0;
  int64_t residual_rows = 0;
  DeviceArray gram;      // [cols, cols]
  DeviceArray drift;     // [cols, cols]
  DeviceArray residual;  // [residual_rows, cols], or empty
};

class DeviceProblem final : public Problem {
 public:
  // Throws what CodingProblem's constructor throws.
  DeviceProblem(Gpu& gpu, DeviceMoments moments, double damping, std::string_view tensor);

  CodingLoss code(const PathJob& job) const override;
  const CodingProblem& on_host() const override;

 private:
  struct Chunk;
  void check_finite(const DeviceMoments& moments, std::string_view tensor) const;
  void take_order(DeviceMoments& moments);
  void build_factor(std::string_view tensor);
  void build_chains();
  int64_t rows_at_once(int64_t rows) const;
  void code_chunk(Chunk& chunk, int64_t first_row) const;
  void undo_drift(Chunk& chunk, int64_t first_row) const;
  void first_pass(Chunk& chunk) const;
  void descend(Chunk& chunk) const;
  void improve_block(Chunk& chunk, int64_t block) const;

  Gpu& gpu_;
  int64_t cols_;
  int64_t residual_rows_;
  double asked_damping_;
  double damping_ = 0;  // as used
  std::string tensor_;
  std::vector<int32_t> order_;
  DeviceArray order_there_, gram_, drift_, residual_, factor_, pivots_, chains_;
  mutable std::optional<CodingProblem> on_host_;
};

}  // namespace upg::compression::cuda
