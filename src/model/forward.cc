// The graph: one step from token ids to logits, in the order of the paper.
#include "base/check.h"
#include "model/model.h"

namespace upg::model {
namespace {

// y (+)= linear(x)
void multiply(kernels::Backend& backend, float* y, const kernels::Linear& linear, const float* x,
              int rows, kernels::Store store) {
  const kernels::Prepared& prepared = backend.prepare(x, rows, linear);
  backend.matmul(y, linear, prepared, rows, store);
}

}  // namespace

const float* Model::forward(const kernels::StepBatch& batch,
                            std::span<const kernels::KvLayer> cache,
                            std::span<const int32_t> wanted_rows) {
  UPG_CHECK(batch.tokens >= 1 && batch.tokens <= limits_.max_tokens);
  UPG_CHECK(cache.size() == layers_.size());
  step_tokens_ = batch.tokens;
  backend_.begin_step(batch);
  backend_.embed(x_.floats(), *embedding_);
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    kernels::LayerStep step;
    step.weights = &layers_[layer];
    step.attention = config().attention;
    step.attention.window = config().windows[layer];
    step.norm_epsilon = config().norm_epsilon;
    step.hidden = config().hidden;
    step.intermediate = config().intermediate;
    step.cache = cache[layer];
    step.x = x_.floats();
    if (!backend_.layer_step(step)) run_layer(step, batch.tokens);
  }
  return wanted_rows.empty() ? logits_.floats() : logits(wanted_rows);
}

void Model::run_layer(const kernels::LayerStep& step, int rows) {
  using kernels::Store;
  const kernels::LayerWeights& w = *step.weights;
  float* const x = step.x;
  float* const normed = normed_.floats();

  backend_.rms_norm(normed, x, w.attention_norm.floats(), step.norm_epsilon, rows, step.hidden);
  multiply(backend_, qkv_.floats(), w.qkv, normed, rows, Store::kSet);
  backend_.rope(qkv_.floats(), step.attention, w.q_norm.floats(), w.k_norm.floats(),
                step.norm_epsilon);
  backend_.attention(attended_.floats(), qkv_.floats(), step.attention, step.cache);
  multiply(backend_, x, w.attention_out, attended_.floats(), rows, Store::kAdd);

  backend_.rms_norm(normed, x, w.mlp_norm.floats(), step.norm_epsilon, rows, step.hidden);
  multiply(backend_, gate_up_.floats(), w.gate_up, normed, rows, Store::kSet);
  backend_.swiglu(gated_.floats(), gate_up_.floats(), rows, step.intermediate);
  multiply(backend_, x, w.down, gated_.floats(), rows, Store::kAdd);
}

const float* Model::normed(std::span<const int32_t> rows) {
  UPG_CHECK(!rows.empty() && rows.size() <= static_cast<size_t>(limits_.max_logits));
  for (const int32_t row : rows) UPG_CHECK(row >= 0 && row < step_tokens_);
  backend_.gather_rows(picked_.floats(), x_.floats(), rows, config().hidden);
  backend_.rms_norm(picked_.floats(), picked_.floats(), final_norm_.floats(), config().norm_epsilon,
                    static_cast<int64_t>(rows.size()), config().hidden);
  return picked_.floats();
}

const float* Model::logits(std::span<const int32_t> rows) {
  multiply(backend_, logits_.floats(), head_, normed(rows), static_cast<int>(rows.size()),
           kernels::Store::kSet);
  return logits_.floats();
}

}  // namespace upg::model
