// The graph: one step from token ids to logits, in the order of the paper.
#include "base/check.h"
#include "model/model.h"

namespace upg::model {

float* Model::forward(const kernels::StepBatch& batch,
                            std::span<const kernels::KvLayer> cache,
                            std::span<const int32_t> wanted_rows) {
  UPG_CHECK(batch.tokens >= 1 && batch.tokens <= limits_.max_tokens);
  UPG_CHECK(cache.size() == layers_.size());
  step_tokens_ = batch.tokens;
  backend_.begin_step(batch);
  for (size_t layer = 0; layer < layers_.size(); ++layer) steps_[layer].cache = cache[layer];
  if (batch.tokens == 1 && token_step(!wanted_rows.empty())) return logits_.floats();
  backend_.embed(x_.floats(), *embedding_);
  for (const kernels::LayerStep& step : steps_) {
    if (!backend_.layer_step(step)) run_layer(backend_, step, scratch_, batch.tokens);
  }
  return wanted_rows.empty() ? logits_.floats() : logits(wanted_rows);
}

bool Model::token_step(bool with_logits) {
  kernels::TokenStep step;
  step.layers = steps_;
  step.embedding = embedding_.get();
  step.final_norm = final_norm_.floats();
  step.head = &head_;
  step.norm_epsilon = config().norm_epsilon;
  step.x = x_.floats();
  step.logits = with_logits ? logits_.floats() : nullptr;
  return backend_.token_step(step);
}

const float* Model::normed(std::span<const int32_t> rows) {
  UPG_CHECK(!rows.empty() && rows.size() <= static_cast<size_t>(limits_.max_logits));
  for (const int32_t row : rows) UPG_CHECK(row >= 0 && row < step_tokens_);
  backend_.gather_rows(picked_.floats(), x_.floats(), rows, config().hidden);
  backend_.rms_norm(picked_.floats(), picked_.floats(), final_norm_.floats(), config().norm_epsilon,
                    static_cast<int64_t>(rows.size()), config().hidden);
  return picked_.floats();
}

float* Model::logits(std::span<const int32_t> rows) {
  const auto count = static_cast<int64_t>(rows.size());
  const kernels::Prepared& prepared = backend_.prepare(normed(rows), count, head_);
  backend_.matmul(logits_.floats(), head_, prepared, count, kernels::Store::kSet);
  return logits_.floats();
}

}  // namespace upg::model
