// A backend on one NVIDIA GPU: every operation a kernel (or two), queued on one stream.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/chooser.h"
#include "kernels/cuda/device_weight.h"
#include "kernels/cuda/geometry.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/layers_few.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/step_tables.h"
#include "kernels/cuda/token_runner.h"

namespace upg::kernels::cuda {

// Input vectors in the forms that the parts of one Linear take.
class DeviceInput final : public Prepared {
 public:
  struct Form {
    const uint8_t* signs = nullptr;
    bool quantised = false;
    bool operator==(const Form&) const = default;
  };
  InputView view(const Form& form) const;

 private:
  friend class CudaBackend;
  struct Slot {
    Form form;
    DeviceArray q, scale, sum, x;
  };
  std::vector<Slot> slots_;  // kept for their memory; the first used_ count
  size_t used_ = 0;
  int64_t rows_ = 0;
  int64_t blocks_ = 0;
  int64_t tiled_rows_ = 0;  // of integers; 0: not in tiles
};

class CudaBackend final : public Backend {
 public:
  // Throws Error(kDevice) when the device is not there, Error(kUsage) for options it cannot follow.
  explicit CudaBackend(const BackendOptions& options);
  ~CudaBackend() override;

  std::string_view name() const noexcept override { return "cuda"; }
  std::string describe() const override;

  uint64_t available_memory() const override;
  Buffer allocate(size_t bytes) override;
  void release(void* data, size_t bytes) noexcept override;
  void upload(void* to, const void* from, size_t bytes) override;
  void download(void* to, const void* from, size_t bytes) override;
  void synchronise() override;
  std::shared_ptr<const Weight> load(const codec::Matrix& matrix) override;
  uint64_t weight_bytes(const codec::Matrix& matrix) const override;

  void begin_step(const StepBatch& batch) override;
  void embed(float* x, const Weight& embedding) override;
  void rms_norm(float* y, const float* x, const float* weight, float epsilon, int64_t rows,
                int64_t cols) override;
  const Prepared& prepare(const float* x, int64_t rows, const Linear& linear) override;
  void matmul(float* y, const Linear& linear, const Prepared& x, int64_t rows,
              Store store) override;
  void rope(float* qkv, const AttentionShape& shape, const float* q_norm, const float* k_norm,
            float epsilon) override;
  void attention(float* out, const float* qkv, const AttentionShape& shape,
                 const KvLayer& cache) override;
  void swiglu(float* y, const float* gate_up, int64_t rows, int64_t n) override;
  const Prepared& prepare_normed(float* normed, const float* x, const float* weight, float epsilon,
                                 int64_t rows, const Linear& linear) override;
  const Prepared& prepare_gated(float* gated, const float* gate_up, int64_t rows,
                                const Linear& linear) override;
  void rope_attention(float* out, float* qkv, const AttentionShape& shape, const float* q_norm,
                      const float* k_norm, float epsilon, const KvLayer& cache) override;
  void gather_rows(float* y, const float* x, std::span<const int32_t> indices,
                   int64_t cols) override;
  void best_ids(std::span<int32_t> ids, const float* logits, int64_t vocabulary) override;
  bool choose_ids(std::span<int32_t> ids, float* logits, int64_t vocabulary,
                  std::span<const TokenChoice> choices) override;
  size_t layers_step(std::span<const LayerStep> steps) override;
  bool token_step(const TokenStep& step) override;
  uint64_t launches() const noexcept override { return launches_; }
  int device() const noexcept { return device_; }

 private:
  // The stream, first member: destroyed last.
  class Stream {
   public:
    explicit Stream(int device);
    ~Stream();
    cudaStream_t get() const noexcept { return stream_; }

   private:
    cudaStream_t stream_ = nullptr;
  };

  void launched(std::string_view what);  // after a launch: throws what it found wrong
  void activate() const;                 // this thread's calls go to the device
  bool multiply_by_library(const MatrixView& weight, const InputView& x, const OutputView& out);
  DeviceInput::Slot& slot_for(const DeviceInput::Form& form);
  // Whether the input of `linear` comes to its product's tiles in one kernel.
  bool fuses_input(int64_t rows, const Linear& linear) const;
  TileForm begin_tiles(int64_t rows, const Linear& linear);  // of input_, its only slot
  void check_heads(const AttentionShape& shape) const;
  // The cache has the step's keys and values.
  void attend_stored(float* out, const float* qkv, const AttentionShape& shape,
                     const KvLayer& cache);
  void attend_few(float* out, const float* qkv, const AttentionShape& shape, const KvLayer& cache,
                  const StepTables::Run& run);
  bool has_wgmma() const noexcept { return limits_.major == 9 && limits_.minor == 0; }
  ProductScratch product_scratch();
  void multiply_several(const MatrixView& w, const InputView& x, const OutputView& out);

  int device_;
  Stream stream_;
  DeviceLimits limits_;
  std::string description_;
  Uploader uploader_;
  WeightUpload weights_;
  StepTables step_;
  DeviceInput input_;
  DeviceArray partials_;  // of attention
  DeviceArray best_;      // of best_ids
  DeviceArray parts_;     // of products whose columns are divided
  DeviceArray counters_;  // likewise
  PinnedArray bounce_;    // of downloads
  Chooser chooser_;
  Fusion fusion_;
  TokenRunner token_;
  FewLayers few_;
  std::optional<Blas> blas_;
  DeviceArray as_floats_;  // weights for it
  uint64_t launches_ = 0;
};

}  // namespace upg::kernels::cuda
