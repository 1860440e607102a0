// Layers for a step in which two to kMostFewInputs sequences have one token each, on compute
// capability 9.0, each in five kernels, which prepare the next one's input where their results
// arise. Inputs of qkv, gate and up are integers in tiles without their norm; what their product
// gives is multiplied by it.
#pragma once

#include <span>
#include <string_view>

#include "kernels/backend.h"
#include "kernels/cuda/few.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/step_tables.h"

namespace upg::kernels::cuda {

class FewLayers {
 public:
  FewLayers(const DeviceLimits& limits, cudaStream_t stream) : limits_(limits), stream_(stream) {}

  // How many of the layers it has done, from the first one on: those that it knows, if it knows the
  // step.
  size_t run(std::span<const LayerStep> layers, StepTables& tables, const ProductScratch& scratch);
  int launches() const noexcept { return launches_; }  // of the last run

 private:
  bool knows(const LayerStep& layer) const;
  bool fits(const Linear& linear, bool whole_blocks) const;
  bool takes_normed(const Linear& linear) const;
  bool takes_gated(const Linear& linear) const;
  void allocate(const LayerStep& layer);
  TileForm tiles(int index, const Linear& linear) const;
  InputView input(int index, const Linear& linear) const;
  void multiply(const Linear& linear, int input_index, float* y, int64_t stride, bool add,
                const FewEnd& end);
  InputNorm multiply_normed(const Linear& linear, float* y, const InputNorm& norm);
  void multiply_gated(const LayerStep& layer, const InputNorm& norm);
  void attend(const LayerStep& layer, const InputNorm& norm, const StepView& step);
  void plan_attention(const AttentionShape& shape, const StepTables& tables);
  void run_layer(const LayerStep& layer, const LayerStep* next, const StepView& step);
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
  DeviceArray gated_tiles_;  // of blocks of columns, zero between uses
  DeviceArray floats_;       // of q, k and v, or of gate times up
};

}  // namespace upg::kernels::cuda
