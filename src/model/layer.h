// One layer of the graph, as single operations: what Model runs where a backend offers no fused
// step, and what those run who go through a model layer by layer.
#pragma once

#include "kernels/backend.h"
#include "model/config.h"

namespace upg::model {

// What one layer needs between its operations, for steps of so many tokens.
struct LayerScratch {
  LayerScratch() = default;
  // Throws Error(kOutOfMemory).
  LayerScratch(kernels::Backend& backend, const ModelConfig& config, int max_tokens);
  uint64_t bytes() const noexcept;

  kernels::Buffer normed;    // [max_tokens, hidden]
  kernels::Buffer qkv;       // [max_tokens, qkv_width]
  kernels::Buffer attended;  // [max_tokens, q_width]
  kernels::Buffer gate_up;   // [max_tokens, 2 * intermediate]
  kernels::Buffer gated;     // [max_tokens, intermediate]
};

// What the layer is told besides its weights, its cache and the residual stream.
kernels::LayerStep layer_step(const ModelConfig& config, int layer);

// step.x [rows, hidden], in and out. Queued on the backend, after its begin_step().
void run_layer(kernels::Backend& backend, const kernels::LayerStep& step,
               const LayerScratch& scratch, int rows);

}  // namespace upg::model
