#include "model/layer.h"

#include "base/checked.h"

namespace upg::model {
namespace {

using kernels::Store;

kernels::Buffer scratch(kernels::Backend& backend, int64_t rows, int64_t cols) {
  const auto floats = base::checked_mul<uint64_t>(static_cast<uint64_t>(rows),
                                                  static_cast<uint64_t>(cols), "scratch");
  return backend.allocate(base::checked_mul<uint64_t>(floats, sizeof(float), "scratch"));
}

}  // namespace

LayerScratch::LayerScratch(kernels::Backend& backend, const ModelConfig& config, int max_tokens)
    : normed(scratch(backend, max_tokens, config.hidden)),
      qkv(scratch(backend, max_tokens, config.attention.qkv_width())),
      attended(scratch(backend, max_tokens, config.attention.q_width())),
      gate_up(scratch(backend, max_tokens, 2 * config.intermediate)),
      gated(scratch(backend, max_tokens, config.intermediate)) {}

uint64_t LayerScratch::bytes() const noexcept {
  return normed.size() + qkv.size() + attended.size() + gate_up.size() + gated.size();
}

kernels::LayerStep layer_step(const ModelConfig& config, int layer) {
  kernels::LayerStep step;
  step.attention = config.attention;
  step.attention.window = config.windows[static_cast<size_t>(layer)];
  step.norm_epsilon = config.norm_epsilon;
  step.hidden = config.hidden;
  step.intermediate = config.intermediate;
  return step;
}

void run_layer(kernels::Backend& backend, const kernels::LayerStep& step,
               const LayerScratch& scratch, int rows) {
  const kernels::LayerWeights& w = *step.weights;
  float* const x = step.x;
  float* const normed = scratch.normed.floats();
  float* const qkv = scratch.qkv.floats();
  float* const attended = scratch.attended.floats();
  float* const gate_up = scratch.gate_up.floats();
  const float epsilon = step.norm_epsilon;
  // What a product takes: valid until the next one is prepared.
  const auto multiply = [&](float* y, const kernels::Linear& linear,
                            const kernels::Prepared& prepared,
                            Store store) { backend.matmul(y, linear, prepared, rows, store); };

  multiply(qkv, w.qkv,
           backend.prepare_normed(normed, x, w.attention_norm.floats(), epsilon, rows, w.qkv),
           Store::kSet);
  backend.rope_attention(attended, qkv, step.attention, w.q_norm.floats(), w.k_norm.floats(),
                         epsilon, step.cache);
  multiply(x, w.attention_out, backend.prepare(attended, rows, w.attention_out), Store::kAdd);

  multiply(gate_up, w.gate_up,
           backend.prepare_normed(normed, x, w.mlp_norm.floats(), epsilon, rows, w.gate_up),
           Store::kSet);
  multiply(x, w.down, backend.prepare_gated(scratch.gated.floats(), gate_up, rows, w.down),
           Store::kAdd);
}

}  // namespace upg::model
