// Builds the token kernel's program from a model's weights and runs it.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/step_tables.h"
#include "kernels/cuda/token.h"

namespace upg::kernels::cuda {

class TokenRunner {
 public:
  TokenRunner(const DeviceLimits& limits, cudaStream_t stream) : limits_(limits), stream_(stream) {}

  // Queues the token that `tables` holds; by_layer: a launch a layer. False when the kernel does
  // not know something of the model or the device: nothing is queued then.
  bool run(const TokenStep& step, const StepTables& tables, bool by_layer);
  // The program is built anew: weights have come or gone.
  void forget() noexcept { layers_.clear(); }
  int launches() const noexcept { return launches_; }  // of the last run

 private:
  bool same_as_last(const TokenStep& step) const;
  bool build(const TokenStep& step);
  bool add_layer(const LayerStep& layer);
  bool add_phase(const TokenPhase& start, const Linear& linear);
  void allocate(const TokenStep& step);
  void set_token(const StepTables& tables);

  DeviceLimits limits_;
  cudaStream_t stream_;
  bool possible_ = false;
  std::vector<LayerStep> layers_;  // of the program
  const float* logits_ = nullptr;
  const float* x_ = nullptr;

  std::vector<TokenPhase> phases_;
  TokenSizes sizes_;
  KvType kv_type_ = KvType::kF16;
  TokenArguments arguments_ = {};
  DeviceArray program_, marked_, pages_;
  std::vector<int32_t> pages_on_device_;
  int launches_ = 0;
};

}  // namespace upg::kernels::cuda
