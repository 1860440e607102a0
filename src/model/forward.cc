// The graph: one step from token ids to logits, in the order of the paper.
#include "base/check.h"
#include "model/model.h"

namespace upg::model {

float* Model::forward(const kernels::StepBatch& batch, std::span<const kernels::KvLayer> cache,
                      std::span<const int32_t> wanted_rows) {
  UPG_CHECK(batch.tokens >= 1 && batch.tokens <= limits_.max_tokens);
  UPG_CHECK(cache.size() == layers_.size());
  step_tokens_ = batch.tokens;
  for (const Stage& stage : stages_) stage.backend->begin_step(batch);
  for (size_t layer = 0; layer < layers_.size(); ++layer) steps_[layer].cache = cache[layer];
  if (stages_.size() == 1 && batch.tokens == 1 && token_step(!wanted_rows.empty())) {
    return logits_.floats();
  }
  stages_[0].backend->embed(stages_[0].x.floats(), *embedding_);
  run_stage(stages_[0], batch.tokens);
  for (size_t i = 1; i < stages_.size(); ++i) {
    hand_over(stages_[i - 1], stages_[i], batch.tokens);
    run_stage(stages_[i], batch.tokens);
  }
  return wanted_rows.empty() ? logits_.floats() : logits(wanted_rows);
}

void Model::run_stage(const Stage& stage, int tokens) {
  const std::span<const kernels::LayerStep> steps(steps_);
  for (size_t layer = stage.first; layer < stage.end;) {
    const size_t done = stage.backend->layers_step(steps.subspan(layer, stage.end - layer));
    layer += done;
    if (done > 0) continue;
    run_layer(*stage.backend, steps_[layer], stage.scratch, tokens);
    ++layer;
  }
}

// The residual stream, by way of the host.
void Model::hand_over(const Stage& from, const Stage& to, int tokens) {
  const auto floats = static_cast<size_t>(tokens) * static_cast<size_t>(config().hidden);
  between_.resize(floats);
  from.backend->download(between_.data(), from.x.floats(), floats * sizeof(float));
  to.backend->upload(to.x.floats(), between_.data(), floats * sizeof(float));
}

bool Model::token_step(bool with_logits) {
  kernels::TokenStep step;
  step.layers = steps_;
  step.embedding = embedding_.get();
  step.final_norm = final_norm_.floats();
  step.head = &head_;
  step.norm_epsilon = config().norm_epsilon;
  step.x = stages_[0].x.floats();
  step.logits = with_logits ? logits_.floats() : nullptr;
  return backend_.token_step(step);
}

const float* Model::normed(std::span<const int32_t> rows) {
  UPG_CHECK(!rows.empty() && rows.size() <= static_cast<size_t>(limits_.max_logits));
  for (const int32_t row : rows) UPG_CHECK(row >= 0 && row < step_tokens_);
  backend_.gather_rows(picked_.floats(), hidden(), rows, config().hidden);
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
