// A layer for a step in which two to kMostFewInputs sequences have one token each, on compute
// capability 9.0, in seven kernels, most of which prepare the next one's input where their results
// arise. Inputs of qkv, gate and up are integers in tiles without their norm; what their product
// gives is multiplied by it.
#pragma once

#include <string_view>

#include "kernels/backend.h"
#include "kernels/cuda/few.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/step_tables.h"

namespace upg::kernels::cuda {

class FewLayers {
 public:
  FewLayers(const DeviceLimits& limits, cudaStream_t stream) : limits_(limits), stream_(stream) {}

  // False when it does not know such a layer or such a step; nothing has happened then.
  bool run(const LayerStep& layer, StepTables& tables, const ProductScratch& scratch);
  int launches() const noexcept { return launches_; }  // of the last run

 private:
  bool knows(const LayerStep& layer) const;
  bool fits(const Linear& linear, bool whole_blocks) const;
  bool takes_normed(const Linear& linear) const;
  void allocate(const LayerStep& layer);
  TileForm tiles(int index, const Linear& linear) const;
  InputView input(int index, const Linear& linear) const;
  void multiply(const Linear& linear, int input_index, float* y, int64_t stride, bool add,
                const FewEnd& end);
  InputNorm multiply_normed(const Linear& linear, float* y, bool gated, const InputNorm& norm);
  void attend(const LayerStep& layer, const InputNorm& norm, const StepView& step);
  void run_layer(const LayerStep& layer, const StepView& step);
  void launched(std::string_view what);

  const DeviceLimits& limits_;
  cudaStream_t stream_;
  ProductScratch scratch_ = {};
  bool few_ = false;  // at most kFewInputs
  int tokens_ = 0;
  int tiled_rows_ = 0;
  int launches_ = 0;
  FewAttentionPlan plan_ = {};
  DeviceArray q_[2];
  DeviceArray scale_[2];
  DeviceArray squares_;
  DeviceArray floats_;  // of q, k and v, or of gate times up
};

}  // namespace upg::kernels::cuda
